"""Write what Ansible does to disk as it happens, masked, with as little work per event as possible."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from orchestrator.adapters.ansible.jobdir import JobDir, appender, rows, write_whole
from orchestrator.adapters.ansible.redaction import Redactor, encode
from orchestrator.adapters.ansible.tally import FINAL, Tally, failure_message

LONGEST_TEXT = 16_384
"""Characters of one text in a result that are kept; a note says how many there were."""

LONGEST_RESULT = 262_144
"""Bytes of one event as JSON; the result of a larger one is left out, with a note."""

#: Said elsewhere in the same result, or private to the module's call.
_LEFT_OUT = frozenset({"invocation", "stdout_lines", "stderr_lines", "_ansible_no_log", "_ansible_parsed"})
_STATISTICS = ("ok", "failures", "dark", "changed", "skipped", "rescued", "ignored", "processed")
_FAILURES = frozenset({"runner_on_failed", "runner_on_unreachable", "runner_on_async_failed", "runner_item_on_failed"})
_BAD = ("failed", "unreachable")
_SAYINGS = frozenset({"error", "warning", "system_warning", "deprecated", "verbose"})
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Recorder:
    """Takes ansible-runner's events and leaves them in the job's folder.

    What was handed over is in the file when ``record`` returns, so it survives a supervisor that is killed.
    """

    def __init__(self, job: JobDir, redactor: Redactor) -> None:
        self.tally = Tally()
        self.trouble = ""
        self._job, self._redactor = job, redactor
        self._events, self._reports = appender(job.events), appender(job.reports)
        self._progress, self._output = appender(job.progress), appender(job.output)
        self._tasks: list[dict[str, object]] = []
        self._said: deque[str] = deque(maxlen=12)

    def resume(self) -> None:
        """Take up what another recorder left in this folder when it was killed."""
        if self._job.events.stat().st_size and self._job.events.read_bytes()[-1:] != b"\n":
            os.write(self._events, b"\n")
        for row in rows(self._job.events):
            self.tally.feed(row)
            if row.get("event") in FINAL:
                self._summarise(row)

    def record(self, event: Mapping[str, object]) -> None:
        """Write one event. Never raises: the hosts' work does not end because a disk is full; ``trouble`` tells."""
        try:
            self._record(event)
        except Exception as error:
            self.trouble = self.trouble or f"the record of this job is incomplete: {type(error).__name__}: {error}"

    def saying(self) -> str:
        """Return what Ansible said last outside of tasks: why it did not begin, as a rule."""
        errors = [text for text in self._said if "ERROR" in text]
        return "\n".join(errors or self._said)

    def close(self) -> list[dict[str, object]]:
        """Pack the events, write the task summary and return the artifacts with their digests."""
        os.fsync(self._reports)
        for descriptor in (self._events, self._reports, self._progress, self._output):
            os.close(descriptor)
        write_whole(self._job.tasks, encode(self._redactor.value(self._tasks)).encode() + b"\n")
        write_whole(self._job.events_packed, gzip.compress(self._job.events.read_bytes(), 6, mtime=0))
        kinds = {"events": self._job.events_packed, "reports": self._job.reports, "tasks": self._job.tasks}
        return [_artifact(kind, file) for kind, file in {**kinds, "output": self._job.output}.items()]

    def _record(self, event: Mapping[str, object]) -> None:
        name = str(event.get("event"))
        self._log(name, event.get("stdout"))
        data = event.get("event_data")
        if not isinstance(data, dict):
            return
        kept: dict[str, object] = {k: event[k] for k in ("counter", "created") if k in event}
        kept["event"] = name
        if name in _FAILURES:
            # Their messages are cut to a few lines: mask first, or the first half of a secret would stay.
            data = self._redactor.value(data) | {"host": data.get("host")}
        row = self._row(name, data, kept)
        self.tally.feed({**kept, **row})
        self._write_event(row, kept)
        if "host" in kept and (name in FINAL or name == "runner_on_start"):
            self._tell(name, kept, row)

    def _write_event(self, row: dict[str, object], kept: Mapping[str, object]) -> None:
        line = self._redactor.line(row, kept=kept)
        if len(line) > LONGEST_RESULT:
            row["res"] = {"left_out": f"a result of {len(line)} characters"}
            line = self._redactor.line(row, kept=kept)
        os.write(self._events, line)

    def _row(self, name: str, data: dict[str, object], kept: dict[str, object]) -> dict[str, object]:
        """Return what may hold secrets; what cannot (names, times, numbers) goes to ``kept``."""
        row: dict[str, object] = {}
        if data.get("host"):
            kept["host"] = data["host"]
        if data.get("task"):
            row["task"], kept["action"] = data["task"], data.get("task_action")
        if name == "playbook_on_task_start":
            row["path"] = data.get("task_path")
        if name == "playbook_on_stats":
            kept["stats"] = {k: data.get(k) for k in _STATISTICS}
        if "duration" in data:
            kept["ms"] = round(_number(data["duration"]) * 1000)
        if data.get("ignore_errors"):
            kept["ignored"] = True
        result = data.get("res")
        if isinstance(result, dict):
            kept["changed"] = bool(result.get("changed"))
            self._report(name, data, result)
            row["res"] = self._shortened(result)
        return row

    def _tell(self, name: str, kept: Mapping[str, object], row: Mapping[str, object]) -> None:
        outcome = _outcome({**kept, "event": name}) if name in FINAL else "running"
        progress = {"at": kept.get("created"), "host": kept["host"], "outcome": outcome}
        os.write(self._progress, self._redactor.line({"task": row.get("task", "")}, kept=progress))
        if outcome != "running":
            self._summarise({**kept, **row})

    def _summarise(self, row: Mapping[str, object]) -> None:
        names = ("host", "task", "action")
        told = {name: row.get(name) or "" for name in names}
        outcome = _outcome(row)
        said = {"message": failure_message(row.get("res"))} if outcome in _BAD else {}
        self._tasks.append({**told, "outcome": outcome, "ms": int(_number(row.get("ms"))), **said})

    def _report(self, name: str, data: Mapping[str, object], result: Mapping[str, object]) -> None:
        if name not in FINAL:
            return
        items = result.get("results")
        for one in (result, *(items if isinstance(items, list) else ())):
            report = one.get("report") if isinstance(one, dict) else None
            if not isinstance(report, dict) or "kind" not in report:
                continue
            failed = failure_message(one) if FINAL[name] == "failed" else ""
            row = {"task": data.get("task"), "report": report, "failed": failed}
            kept = {"host": data.get("host"), "changed": bool(one.get("changed"))}
            os.write(self._reports, self._redactor.line(row, kept=kept))

    def _log(self, name: str, text: object) -> None:
        if not isinstance(text, str) or not text:
            return
        plain = text.replace("\r", "")
        if "\x1b" in plain:
            plain = _COLOUR.sub("", plain)
        masked = self._redactor.wrapped(plain)
        os.write(self._output, masked.encode("utf-8", "replace") + b"\n")
        if name in _SAYINGS:
            self._said.append(masked.strip())

    def _shortened(self, result: Mapping[str, object]) -> dict[str, object]:
        return {key: self._cut(key, value) for key, value in result.items() if key not in _LEFT_OUT}

    def _cut(self, key: str, value: object) -> object:
        if isinstance(value, str):
            if len(value) <= LONGEST_TEXT:
                return value
            return f"{self._redactor.text(value)[:LONGEST_TEXT]} [cut: {len(value)} characters in all]"
        if key == "report" and isinstance(value, dict):
            return {"kind": value.get("kind"), "in": "reports.jsonl"}
        if key == "results" and isinstance(value, list):
            return [self._shortened(item) if isinstance(item, dict) else item for item in value]
        return value


def _outcome(row: Mapping[str, object]) -> str:
    outcome = FINAL[str(row["event"])]
    return "changed" if outcome == "ok" and row.get("changed") else outcome


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _artifact(kind: str, file: Path) -> dict[str, object]:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    # As seen from the state folder, which holds the folder of all jobs.
    path = "/".join(file.parts[-3:])
    return {"kind": kind, "path": path, "sha256": digest, "size": len(content)}
