"""Everything that work on hosts needs from outside, and the batch it works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.change import ChangeRequest, Wanted
from orchestrator.domain.health import CheckKind
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.job import HostJob
from orchestrator.domain.plan import HostPlan
from orchestrator.domain.probe import Needs
from orchestrator.domain.rollback import RollbackClass
from orchestrator.errors import Refused
from orchestrator.flow import lockdown
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import (
    ContentKeeper,
    Inventory,
    PacedRunner,
    PackageKeeper,
    Probe,
    RollbackKit,
    RollbackProvider,
    ServiceCheck,
    Tracer,
)

#: An upper bound for one phase of one batch, in seconds: far beyond any patch, so that only what hangs is ended.
JOB_TIMEOUT = 4 * 3600
#: Seconds between two looks at whether a lockdown has been lifted.
LOOK = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """The people and tools of the night.

    ``throttle`` has the limits of groups of hosts, by name; ``node`` is the machine on which jobs that are begun run;
    ``room`` tells how many bytes are free where their results are written; ``tracer`` is told what was done, where a
    site has one; ``lost_after`` is how long a host may be silent, where the site says that.
    """

    ledger: Ledger
    inventory: Inventory
    content: ContentKeeper
    packages: PackageKeeper
    runner: PacedRunner
    probe: Probe
    kit: RollbackKit
    providers: Mapping[str, RollbackProvider]
    classes: Mapping[str, RollbackClass]
    checks: Mapping[CheckKind, ServiceCheck]
    throttle: Mapping[str, int] = field(default_factory=dict)
    needs: Needs = field(default_factory=Needs)
    node: str = ""
    room: Callable[[], int] = lambda: 1 << 40
    tracer: Tracer | None = None
    lost_after: timedelta | None = None

    def now(self) -> datetime:
        """Return the time now, in UTC."""
        return self.ledger.clock.now()


class Stopped(Refused):
    """Somebody has asked for an end, and it has come."""


class Held(Refused):
    """A lockdown holds everything: what is to be done is done when it has been lifted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at staging a change: ``name`` is part of every job's id, so that a new attempt begins anew.

    ``content`` is the digest of what runs, ``hosts`` that of the hosts of each inventory: one shard after the other
    works with the same ones. ``begun_at`` is the moment by which the baseline counts, and ``ahead`` are the hosts that
    an earlier attempt has patched.
    """

    change: ChangeRequest
    content: str
    name: str
    begun_at: datetime
    hosts: Mapping[Environment, str]
    ahead: tuple[str, ...]

    def is_mine(self, shard: str) -> bool:
        """Tell whether a shard of this name is part of the attempt."""
        return shard == self.name or shard.startswith(f"{self.name}.")

    def go_on(self, crew: Crew) -> None:
        """Raise Stopped where somebody has asked for an end, and Held in a lockdown; called between two steps."""
        if crew.ledger.store.change(self.change.id).wanted is Wanted.STOP:
            raise Stopped("staging was stopped, as asked.")
        if reason := lockdown.why(crew.ledger):
            raise Held(f"everything is held: {reason}.")

    def wait(self, crew: Crew) -> None:
        """Wait until no lockdown holds everything. Raises Stopped where somebody has asked for an end."""
        while True:
            try:
                return self.go_on(crew)
            except Held:
                crew.ledger.clock.sleep(LOOK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Hosts that are worked on together. ``name`` is unique within the change and part of every job's id."""

    change: ChangeRequest
    environment: Environment
    content: str
    name: str
    plans: tuple[HostPlan, ...]
    hosts: Mapping[str, Host]
    token: int
    installation: str
    packages_dir: str
    lost_after: timedelta | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the hosts."""
        return tuple(plan.host for plan in self.plans)

    @property
    def transaction_limit(self) -> timedelta:
        """Return how long a host's package manager may take before nobody waits for it any more; it goes on then."""
        return max(timedelta(minutes=10), 3 * self.change.spec.estimates.patch)

    def reboot_limit(self, host: str) -> timedelta:
        """Return how long a host may take to come back from its reboot."""
        return self._lost_after(host) or max(timedelta(minutes=2), self.change.spec.estimates.reboot)

    def silence_limit(self, host: str) -> timedelta:
        """Return how long a host may say nothing where nobody saw the end of its step; it may be rebooting."""
        return self._lost_after(host) or max(timedelta(minutes=1), self.change.spec.estimates.reboot)

    def _lost_after(self, host: str) -> timedelta | None:
        return self.hosts[host].lost_after or self.lost_after

    def only(self, names: Sequence[str], *, name: str = "") -> Batch:
        """Return the batch with just these hosts, under another name where one is given."""
        wanted = set(names)
        kept = tuple(plan for plan in self.plans if plan.host in wanted)
        return replace(self, plans=kept, name=name or self.name)

    def job_id(self, step: str) -> str:
        """Return the id of this batch's job for a step: the same for ever, so that a job is never begun twice."""
        return f"{self.change.id}.{self.name}.{step}"

    def host_job(self, plan: HostPlan, **more: Plain) -> HostJob:
        """Return a host's part in a job: what it is told, and by which Ansible installation."""
        throttle = self.hosts[plan.host].throttle
        return HostJob(host=plan.host, patch_job=self.patch_job(plan, **more), ansible=plan.ansible, throttle=throttle)

    def patch_job(self, plan: HostPlan, **more: Plain) -> dict[str, Plain]:
        """Return what the playbooks are told about one host (docs/playbook-interface.md)."""
        spec = self.change.spec
        return {
            "change": self.change.id,
            "token": {"installation": self.installation, "counter": self.token},
            "family": plan.platform.family or self.hosts[plan.host].family,
            "items": plain(plan.items),
            "exclude": list(spec.baseline.exclude),
            "packages_dir": self.packages_dir,
            "fetch_to": "",
            "reboot": spec.reboot.value,
            "restart_services": spec.restart_services,
            "reboot_timeout": int(self.reboot_limit(plan.host).total_seconds()),
            "timeout": int(self.transaction_limit.total_seconds()),
            "services_ignored": list(spec.ignored_units),
            "paths": [path for path, _ in Needs().free],
            "keep_point": True,
            **({"drain": plan.drain} if plan.drain else {}),
            **more,
        }
