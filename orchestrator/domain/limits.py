"""How much the controller does at once: Ansible runs, their worker processes, and the memory left for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a site allows its controller.

    ``jobs`` Ansible runs at once, across all changes; ``forks`` worker processes of all runs together; a run begins
    only while ``free_memory`` MiB are available; ``throttle`` is the number of hosts of a named group in work at once.
    """

    jobs: int = 4
    forks: int = 80
    free_memory: int = 256
    throttle: Mapping[str, int] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """Return how many runs there may be of those that put nothing back: one place, where there are two or more,
        is kept for putting hosts back, which must not wait until other hosts are patched.
        """
        return max(1, self.jobs - 1)

    def forks_of_a_run(self, wanted: int) -> int:
        """Return the worker processes of one run, so that all runs together never have more than ``forks``."""
        return max(1, min(wanted, self.forks // self.jobs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the controller does now: Ansible runs of this site, and MiB of memory that a new process could have."""

    runs: int
    free_memory: int


def why_wait(load: Load, limits: Limits, *, puts_back: bool = False) -> str:
    """Return why a further Ansible run may not begin now, or an empty text.

    One that puts hosts back waits for a place only: when memory is short, a host that stays broken is the worse evil.
    """
    places = limits.jobs if puts_back else limits.places
    if load.runs >= places:
        kept = " (one place is kept for putting hosts back)" if places < limits.jobs else ""
        return f"{_runs(load.runs)} at work, limits.jobs = {limits.jobs}{kept}"
    if load.free_memory < limits.free_memory and not puts_back:
        return f"less than limits.free_memory = {limits.free_memory} MiB of memory are available"
    return ""


def _runs(count: int) -> str:
    return "one Ansible run is" if count == 1 else f"{count} Ansible runs are"
