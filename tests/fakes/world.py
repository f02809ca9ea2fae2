"""The hosts and files of a fake site on disk: what a killed process leaves as it is, and the next one finds."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.domain.job import Job, JobResult
from tests.fakes.site import FakeSite


def save(site: FakeSite, file: Path) -> None:
    """Write down how the world stands, in one piece."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(pickle.dumps([_told(part) for part in _parts(site)]))
    draft.rename(file)


def load(site: FakeSite, file: Path) -> None:
    """Let the world be as it was written down."""
    told = pickle.loads(file.read_bytes())  # Written by ourselves, a moment ago.
    for part, fields in zip(_parts(site), told, strict=True):
        for name, value in fields.items():
            setattr(part, name, value)


@dataclass
class WatchedRunner:
    """A runner whose jobs leave their traces on disk; ``passes`` is told of each moment at which one can be killed."""

    site: FakeSite
    file: Path
    passes: Callable[[str], None]

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        """Play a job, at most once whoever asks."""
        step = job.id.partition(".")[2]
        self.passes(f"before {job.playbook} ({step})")
        result = self.site.runner.run(job, on_wait=on_wait)
        save(self.site, self.file)
        self.passes(f"after {job.playbook} ({step})")
        return result

    def reserve(self, job: Job, go_on: Callable[[], bool]) -> bool:
        """Get a place, as soon as there is one."""
        return self.site.runner.reserve(job, go_on)

    def result(self, job_id: str) -> JobResult | None:
        """Tell what came of a job."""
        return self.site.runner.result(job_id)

    def stop(self, job_id: str) -> None:
        """Remember that somebody wanted the job to end."""
        self.site.runner.stop(job_id)


def _parts(site: FakeSite) -> Sequence[Any]:
    machines = [machine for some in site.by_environment.values() for machine in some.values()]
    return [*machines, *site.providers.values(), site.runner, site.packages, site.inventory, site.clock, site.kit]


def _told(part: Any) -> dict[str, Any]:
    """Return what there is to remember of a part; how parts hang together is not of it."""
    shared = {"machines", "clock", "packages", "log", "watch", "folder"}
    return {name: value for name, value in vars(part).items() if name not in shared}
