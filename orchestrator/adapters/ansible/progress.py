"""What Ansible is doing right now, from the newest job of a change."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.adapters.ansible.jobdir import JobDir

_TAIL = 4096


def latest_progress(jobs: Path, change: str) -> str:
    """Return the newest line of progress of a change's newest job, in words; an empty text where there is none.

    A job that waits for a place is told first.
    """
    every = list(jobs.glob(f"{change}.*"))
    for folder in sorted(every):
        waiting = JobDir(folder).read(folder / "waiting")
        if waiting and Path(f"/proc/{waiting.get('pid')}").exists():
            return f"{folder.name} waits: {waiting.get('why', '')}"
    folders = [folder for folder in every if (folder / "progress.jsonl").exists()]
    newest = max(folders, key=lambda folder: (folder / "progress.jsonl").stat().st_mtime, default=None)
    if newest is None or (newest / "result.json").exists():
        return ""
    with (newest / "progress.jsonl").open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL))
        lines = file.read().splitlines()
    try:
        last = json.loads(lines[-1])
    except (IndexError, ValueError):
        return ""
    return f"{last.get('host', '')}: {last.get('task', '')}: {last.get('outcome', '')}"
