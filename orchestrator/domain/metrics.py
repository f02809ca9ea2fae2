"""The figures by which a site is watched, computed from what is recorded: nothing is lost by a restart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.rollback import RollbackPoint
from orchestrator.domain.rollout import budget
from orchestrator.domain.run import HostRun, HostStatus, score


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the database counts: changes by state, hosts by status (of all changes), open steps, events, the outbox.

    ``oldest_step`` is when the oldest open step began, None where none is open.
    """

    changes: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, int] = field(default_factory=dict)
    steps: int = 0
    oldest_step: datetime | None = None
    events: int = 0
    backlog: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is looked at beside the counts.

    ``runs`` are those of the changes that have not ended, ``unattended`` the changes that need a carrier and have none.
    """

    figures: Figures
    runs: Mapping[str, tuple[ChangeRequest, Sequence[HostRun]]]
    points: Sequence[RollbackPoint]
    checkpoint_at: datetime | None
    unattended: int
    version: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One value with its labels."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric. ``name`` is without the prefix, in base units; a counter only grows."""

    name: str
    help: str
    samples: tuple[Sample, ...]
    is_counter: bool = False


def measures(observed: Observed, *, now: datetime) -> tuple[Measure, ...]:
    """Return every metric; each state and status is there, with 0 where there is none."""
    figures = observed.figures
    return (
        Measure(name="info", help="The program that answers.", samples=(Sample({"version": observed.version}, 1),)),
        _by("changes", "Changes by state.", "state", ChangeState, figures.changes),
        _by("hosts", "Hosts of all changes, by what became of them.", "status", HostStatus, figures.hosts),
        _one("changes_unattended", "Changes at work that no living process carries.", observed.unattended),
        _one("steps_running", "Steps on hosts that have begun and not ended.", figures.steps),
        _one("oldest_step_seconds", "Age of the oldest step that has not ended; 0 where there is none.",
             _age(figures.oldest_step, now)),
        *_budgets(observed.runs),
        _one("rollback_points_held", "Rollback points that are held.", len(observed.points)),
        _one("rollback_points_expired", "Rollback points that are held beyond their time.",
             sum(point.expires_at <= now for point in observed.points)),
        _one("audit_events", "Events in all audit chains.", figures.events, is_counter=True),
        _one("outbox_events", "Events that no notifier has been told of.", figures.backlog),
        *_checkpoint(observed.checkpoint_at, now),
    )  # fmt: skip


def _budgets(runs: Mapping[str, tuple[ChangeRequest, Sequence[HostRun]]]) -> Iterable[Measure]:
    """Return what each open change may spend, what it has spent, and how far its hosts are."""
    failed, allowed, left = [], [], []
    for name, (change, hosts) in runs.items():
        if hosts:
            count, labels = score(hosts), {"change": name}
            failed.append(Sample(labels, count.failed))
            allowed.append(Sample(labels, budget(change.spec.rollout, len(hosts)).max_failures))
            left.append(Sample(labels, count.open))
    yield Measure(name="budget_spent_hosts", help="Failed hosts of an open change.", samples=tuple(failed))
    yield Measure(name="budget_hosts", help="Hosts of an open change that may fail.", samples=tuple(allowed))
    yield Measure(name="hosts_open", help="Hosts of an open change that are not settled.", samples=tuple(left))


def _checkpoint(at: datetime | None, now: datetime) -> Iterable[Measure]:
    """Return the age of the newest checkpoint; nothing where none was ever made, which an alert asks for."""
    samples = (Sample({}, _age(at, now)),) if at is not None else ()
    yield Measure(name="checkpoint_age_seconds", help="Time since the audit chains were signed.", samples=samples)


def _by(name: str, told: str, label: str, known: Iterable[str], counts: Mapping[str, int]) -> Measure:
    return Measure(name=name, help=told, samples=tuple(Sample({label: str(k)}, counts.get(str(k), 0)) for k in known))


def _one(name: str, told: str, value: float, *, is_counter: bool = False) -> Measure:
    return Measure(name=name, help=told, samples=(Sample({}, value),), is_counter=is_counter)


def _age(at: datetime | None, now: datetime) -> float:
    return max(0.0, (now - at).total_seconds()) if at is not None else 0.0
