"""Settle a job whose supervisor died: wait for what it left behind, keep what was told, and never run it again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.adapters.ansible.jobdir import JobDir, boot_id, processes_of
from orchestrator.adapters.ansible.recorder import Recorder
from orchestrator.adapters.ansible.redaction import Redactor
from orchestrator.adapters.ansible.tally import first_lines
from orchestrator.adapters.ansible.verdict import DIED, Verdict, write_result
from orchestrator.domain.canonical import parse_rfc3339
from orchestrator.errors import OrchestratorError

_PATIENCE_AT_LEAST = 5.0


def settle(folder: JobDir, redactor: Callable[[str], Redactor], beat: Callable[[], None]) -> None:
    """Leave a result that says DIED, once no process of the job lives any more or its time is over.

    1. The lock keeps other callers out meanwhile. What ``beat`` raises goes through, and the next caller takes over.
    2. Ansible ends at the first word that it cannot hand to its dead supervisor: no further task begins.
    3. The event that it could not hand over any more lies in the scratch folder and is the last that is known.
    """
    with folder.held() as free:
        if not free or folder.result.exists():
            return
        started, order = folder.read(folder.started), folder.read(folder.order)
        same_boot = started.get("boot_id") == boot_id()
        left = _wait_for_leftovers(folder, started, order, beat) if same_boot else []
        scratch = Path(str(started.get("scratch") or folder.path / "none"))
        try:
            masks = redactor(str(order.get("content")))
        except OrchestratorError:
            # What cannot be masked is not read.
            masks, unread = Redactor(()), []
        else:
            unread = list(_unread_events(scratch)) if same_boot else []
        recorder = Recorder(folder, masks)
        recorder.resume()
        for event in unread:
            recorder.record(event)
        write_result(folder, recorder, masks, Verdict(DIED, None, _message(folder, left, same_boot=same_boot)))
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_for_leftovers(
    folder: JobDir, started: dict[str, object], order: dict[str, object], beat: Callable[[], None]
) -> list[int]:
    """Wait until no process of the job lives, no longer than the job might take; return those that still do."""
    deadline = time.monotonic() + max(_PATIENCE_AT_LEAST, _time_left(started, order))
    while left := processes_of(folder):
        if time.monotonic() > deadline:
            return left
        beat()
    return []


def _time_left(started: dict[str, object], order: dict[str, object]) -> float:
    timeout = order.get("timeout")
    with suppress(ValueError):
        spent = datetime.now(UTC) - parse_rfc3339(str(started.get("at")))
        return (timeout if isinstance(timeout, int) else 0) - spent.total_seconds()
    return 0.0


def _unread_events(scratch: Path) -> Iterator[dict[str, object]]:
    found = []
    for file in scratch.glob("run/job_events/*-partial.json"):
        with suppress(OSError, ValueError):
            event = json.loads(file.read_bytes())
            if isinstance(event, dict):
                found.append(event)
    return iter(sorted(found, key=lambda event: str(event.get("created"))))


def _message(folder: JobDir, left: list[int], *, same_boot: bool) -> str:
    why = "its supervisor died" if same_boot else "the controller was restarted"
    told = [f"The job was begun and {why}; it is not run again. Ask the hosts what became of them."]
    if left:
        told.append(f"Still at work on the controller: {', '.join(f'process {number}' for number in left)}.")
    with suppress(OSError):
        last = first_lines("\n".join(folder.trouble.read_text(errors="replace").splitlines()[-1:]))
        told.append(f"Its last words: {last}" if last else "")
    return "\n".join(filter(None, told))
