"""What Ansible is doing right now, from the newest job of a change."""

from __future__ import annotations

import json
from pathlib import Path

_TAIL = 4096


def latest_progress(jobs: Path, change: str) -> str:
    """Return the newest line of progress of a change's newest job, in words; an empty text where there is none."""
    folders = [folder for folder in jobs.glob(f"{change}.*") if (folder / "progress.jsonl").exists()]
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
