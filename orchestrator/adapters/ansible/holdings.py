"""What the state folder keeps because of changes: jobs with their task events, kits, logs, frozen content, packages."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.adapters.ansible.content import remove_frozen
from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.adapters.ansible.packages import PackageStore
from orchestrator.domain.backup import CHANGE, TOKEN
from orchestrator.domain.retention import Holding, HoldingKind
from orchestrator.errors import Refused, Unavailable

_GOING = ".going-"
_COUNTER = re.compile(rb'"counter":\s*(\d+)')
_NUMBER = re.compile(r"CHG-(\d+)(?:\.|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateHoldings:
    """Implements ``ports.Holdings`` in ``state``; ``logs`` is the folder with the logs of workers."""

    state: Path
    logs: Path

    def kept(self) -> Sequence[Holding]:
        """Return everything that is kept, each with the change that it was made for, where it tells."""
        return [
            *(_holding(HoldingKind.JOB, path, _change_of(path)) for path in _folders(self._place(HoldingKind.JOB))),
            *(_holding(HoldingKind.KIT, path, path.name) for path in _folders(self._place(HoldingKind.KIT))),
            *(_holding(HoldingKind.LOG, path) for path in _files(self.logs, ".log")),
            *(_holding(HoldingKind.CONTENT, path) for path in _folders(self._place(HoldingKind.CONTENT))),
            *(_holding(HoldingKind.PACKAGE, path) for path in _files(self._place(HoldingKind.PACKAGE), "")),
        ]

    def remove(self, holding: Holding) -> int:
        """Remove it, where it is still there; return the bytes that freed.

        Raises Refused for a job at work, Unavailable where the file system does not let it go.
        """
        try:
            return self._remove(holding)
        except OSError as error:
            raise Unavailable(f"the {holding.kind} {holding.name} cannot be removed: {error}") from error

    def _remove(self, holding: Holding) -> int:
        path = self._path(holding)
        if holding.kind is HoldingKind.PACKAGE:
            return PackageStore(state=self.state).remove([holding.name])
        if not path.exists():
            return 0
        if holding.kind is HoldingKind.LOG:
            path.unlink()
        elif holding.kind is HoldingKind.CONTENT:
            remove_frozen(path)
        else:
            if holding.kind is HoldingKind.JOB and JobDir(path).is_carried():
                raise Refused(f"the job {holding.name} is still at work; nothing of it was removed.")
            _remove_folder(path)
        return holding.size

    def at_work(self) -> Sequence[str]:
        """Return the ids of the jobs that a supervisor carries now."""
        jobs = [JobDir(path) for path in _folders(self._place(HoldingKind.JOB))]
        return [job.path.name for job in jobs if job.started.exists() and not job.result.exists() and job.is_carried()]

    def counters(self) -> Mapping[str, int]:
        """Return the highest fencing token that a job has shown to hosts, and the highest number of a change."""
        found = {TOKEN: 0, CHANGE: 0}
        for path in _folders(self._place(HoldingKind.JOB)):
            with suppress(OSError):
                told = JobDir(path).inventory.read_bytes()
                found[TOKEN] = max(found[TOKEN], *(int(n) for n in _COUNTER.findall(told)), 0)
        for kind in (HoldingKind.JOB, HoldingKind.KIT):
            numbers = (_NUMBER.match(path.name) for path in _folders(self._place(kind)))
            found[CHANGE] = max(found[CHANGE], *(int(match[1]) for match in numbers if match), 0)
        return found

    def worked(self) -> Mapping[str, datetime]:
        """Return when a job last worked for each change."""
        last: dict[str, datetime] = {}
        for path in _folders(self._place(HoldingKind.JOB)):
            job = _holding(HoldingKind.JOB, path, _change_of(path))
            for change in job.needed_by:
                last[change] = max(job.at, last.get(change, job.at))
        return last

    def _path(self, holding: Holding) -> Path:
        if holding.kind is HoldingKind.LOG:
            return self.logs / f"{holding.name}.log"
        return self._place(holding.kind) / holding.name

    def _place(self, kind: HoldingKind) -> Path:
        return self.state / {
            HoldingKind.JOB: "jobs",
            HoldingKind.KIT: "kits",
            HoldingKind.CONTENT: "content",
            HoldingKind.PACKAGE: "packages",
        }.get(kind, "")


def _holding(kind: HoldingKind, path: Path, change: str = "") -> Holding:
    files = [path.lstat(), *(each.lstat() for each in path.rglob("*"))] if path.is_dir() else [path.lstat()]
    return Holding(
        kind=kind,
        name=path.stem if kind is HoldingKind.LOG else path.name,
        size=sum(each.st_size for each in files),
        at=datetime.fromtimestamp(max(each.st_mtime for each in files), UTC),
        needed_by=frozenset({change} if change else ()),
    )


def _change_of(job: Path) -> str:
    """Return the change that a job was made for; the id of a job whose order is gone begins with it, too."""
    folder = JobDir(job)
    return str(folder.read(folder.order).get("change") or job.name.partition(".")[0])


def _folders(place: Path) -> Iterator[Path]:
    yield from (path for path in _entries(place) if path.is_dir() and not path.is_symlink())


def _files(place: Path, suffix: str) -> Iterator[Path]:
    yield from (path for path in _entries(place) if path.is_file() and path.suffix == suffix)


def _entries(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    for left in place.glob(f"{_GOING}*"):
        shutil.rmtree(left, ignore_errors=True)  # Of a removal that was interrupted.
    return sorted(path for path in place.iterdir() if not path.name.startswith("."))


def _remove_folder(path: Path) -> None:
    """Remove a folder under another name: half a job's folder would read as a job that never began."""
    going = path.with_name(f"{_GOING}{path.name}.{os.getpid()}")
    path.rename(going)
    shutil.rmtree(going)
