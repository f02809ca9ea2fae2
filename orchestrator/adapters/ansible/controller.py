"""What the controller has for a run of Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.ansible.installations import programs_of
from orchestrator.adapters.ansible.lookups import Variables, from_environment
from orchestrator.adapters.ansible.slots import Place, Slots
from orchestrator.domain.job import Job
from orchestrator.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """``environment`` is added to the few variables that a run inherits; ``installations`` are virtual environments by
    name; without ``slots`` any number of runs may begin. ``variables`` gives what the inventory looks up in the
    environment, of which a run inherits almost nothing.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    installations: Mapping[str, Path] = field(default_factory=dict)
    slots: Slots | None = None
    variables: Variables = field(default=from_environment, repr=False)

    def programs(self, job: Job) -> Path:
        """Return the folder with the commands for a job. Raises InvalidInput where it needs several installations."""
        names = sorted({host.ansible for host in job.hosts})
        if len(names) > 1:
            wanted = ", ".join(name or "default" for name in names)
            raise InvalidInput(f"job {job.id} needs several Ansible installations ({wanted}): cut it first.")
        return programs_of(self.installations, names[0] if names else "")

    def place(self, job: Job) -> Place:
        """Return a place for the job's run, or what it has to wait for."""
        return self.slots.take(puts_back=job.puts_back) if self.slots else Place(None, "")
