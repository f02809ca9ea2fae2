"""Read what the playbooks reported (docs/playbook-interface.md) into the words of the domain.

A report comes from a host, so nothing in it is trusted to have the right shape: what is missing or odd reads as empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.domain.baseline import Candidate, Classification
from orchestrator.domain.canonical import Plain
from orchestrator.domain.health import Disk, HostState
from orchestrator.domain.journal import HostRecord
from orchestrator.domain.lock import Platform
from orchestrator.domain.plan import Transition

Report = Mapping[str, Plain]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A package as ``scan.yml`` found it."""

    name: str
    arch: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What the host's package manager says installing a lock would do.

    ``irremovable`` names what no restore takes back.
    """

    applicable: tuple[Transition, ...]
    unavailable: tuple[str, ...]
    transitions: tuple[Transition, ...]
    problems: tuple[str, ...]
    irremovable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What ``scan.yml`` found on one host; ``simulation`` only where a lock was given."""

    platform: Platform
    installed: Mapping[str, str]
    candidates: tuple[Candidate, ...]
    simulation: Simulation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What a package transaction was to do, and did."""

    predicted: tuple[Transition, ...]
    actual: tuple[Transition, ...]
    missing: tuple[Transition, ...]
    not_restarted: tuple[str, ...]


def scan(report: Report) -> Scan:
    """Read a ``scan`` report."""
    distribution = _mapping(report, "distribution")
    platform = Platform(
        family=text(report, "family"),
        distribution=text(distribution, "id"),
        release=text(distribution, "release"),
        arch=text(report, "arch"),
    )
    simulation = _mapping(report, "simulation")
    return Scan(
        platform=platform,
        installed={f"{text(p, 'name')}:{text(p, 'arch')}": text(p, "version") for p in rows(report, "installed")},
        candidates=candidates(report, "candidates"),
        simulation=_simulation(simulation) if simulation else None,
    )


def candidates(report: Report, key: str) -> tuple[Candidate, ...]:
    """Read the candidates of a ``scan`` report, or the items of a ``download`` report."""
    return tuple(_candidate(row) for row in rows(report, key))


def state(report: Report) -> HostState:
    """Read a ``state`` report."""
    kernel, reboot, manager = (_mapping(report, key) for key in ("kernel", "reboot_required", "manager"))
    units = _mapping(report, "units")
    return HostState(
        boot_id=text(report, "boot_id"),
        booted_at=number(report, "booted_at"),
        time=number(report, "time"),
        kernel_running=text(kernel, "running"),
        kernel_newest=text(kernel, "newest"),
        reboot_needed=bool(reboot.get("needed")),
        reboot_reasons=texts(reboot, "reasons"),
        stale_processes=tuple(
            f"{text(p, 'process')}[{number(p, 'pid')}] {text(p, 'unit')}".strip()
            for p in rows(report, "deleted_libraries")
        ),
        running_units=texts(units, "running"),
        failed_units=texts(units, "failed"),
        listening=texts(report, "listening"),
        disks=tuple(
            Disk(path=text(d, "path"), total=number(d, "total"), free=number(d, "free")) for d in rows(report, "disks")
        ),
        packages=packages(report),
        auto=texts(report, "auto"),
        held=texts(report, "held"),
        manager_problems=texts(manager, "problems"),
        log_errors=texts(report, "events") if "events" in report else None,
    )


def kept_state(document: Report) -> HostState:
    """Read a state that was kept as evidence (the canonical form of HostState)."""
    return HostState(
        boot_id=text(document, "boot_id"),
        booted_at=number(document, "booted_at"),
        running_units=texts(document, "running_units"),
        failed_units=texts(document, "failed_units"),
        listening=texts(document, "listening"),
        packages=packages(document),
        auto=texts(document, "auto"),
        held=texts(document, "held"),
        log_errors=texts(document, "log_errors") if document.get("log_errors") is not None else None,
    )


def packages(report: Report) -> dict[str, str]:
    """Read the packages of a ``state`` report: ``name:arch`` -> version."""
    found = _mapping(report, "packages").items()
    return {name.encode("ascii", "backslashreplace").decode(): _clean(str(version)) for name, version in found}


def host_journal(report: Report) -> tuple[HostRecord, ...]:
    """Read the host's own journal from a ``state`` report."""
    return tuple(
        HostRecord(
            at=number(r, "at"),
            change=text(r, "change"),
            step=text(r, "step"),
            installation=text(r, "installation"),
            counter=number(r, "counter"),
            event=text(r, "event"),
            outcome=text(r, "outcome"),
            detail=text(r, "detail"),
        )
        for r in rows(report, "journal")
    )


def journal_length(report: Report) -> int:
    """Return how many records the host's own journal holds; a ``state`` report tells only the last of them."""
    return number(report, "journal_length")


def is_at_work(report: Report) -> bool:
    """Tell whether a step's process lives on the host; yes where the playbooks are too old to say."""
    return report.get("at_work") is not False


def transaction(report: Report) -> Transaction:
    """Read a ``transaction`` report."""
    return Transaction(
        predicted=_transitions(report, "predicted"),
        actual=_transitions(report, "actual"),
        missing=_transitions(report, "missing"),
        not_restarted=texts(report, "not_restarted"),
    )


def text(report: Report, key: str) -> str:
    """Return the text under a key, or an empty one."""
    value = report.get(key)
    return _clean(value) if isinstance(value, str) else ""


def number(report: Report, key: str) -> int:
    """Return the whole number under a key, or 0."""
    value = report.get(key)
    return value if isinstance(value, int) else 0


def texts(report: Report, key: str) -> tuple[str, ...]:
    """Return the texts under a key."""
    value = report.get(key)
    return tuple(_clean(item) for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def rows(report: Report, key: str) -> Sequence[Report]:
    """Return the objects under a key."""
    value = report.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _clean(text: str) -> str:
    """Return a text that UTF-8 can say: a host may have names in another encoding."""
    return text.encode("utf-8", "replace").decode()


def _mapping(report: Report, key: str) -> Report:
    value = report.get(key)
    return value if isinstance(value, dict) else {}


def _candidate(row: Report) -> Candidate:
    kind = text(row, "classification")
    return Candidate(
        name=text(row, "name"),
        arch=text(row, "arch"),
        from_version=text(row, "from_version"),
        version=text(row, "version"),
        classification=Classification(kind) if kind in set(Classification) else Classification.UNKNOWN,
        severity=text(row, "severity").lower(),
        advisories=texts(row, "advisories"),
        origin=text(row, "origin"),
        sha256=text(row, "sha256"),
        filename=text(row, "filename"),
        size=number(row, "size"),
        published=datetime.fromtimestamp(number(row, "published"), UTC) if number(row, "published") else None,
        held=bool(row.get("held")),
        removable=row.get("removable") is not False,
    )


def _simulation(report: Report) -> Simulation:
    return Simulation(
        applicable=_transitions(report, "applicable"),
        unavailable=texts(report, "unavailable"),
        transitions=_transitions(report, "transitions"),
        problems=texts(report, "problems"),
        irremovable=texts(report, "irremovable"),
    )


def _transitions(report: Report, key: str) -> tuple[Transition, ...]:
    return tuple(
        Transition(name=text(r, "name"), arch=text(r, "arch"), before=text(r, "from"), after=text(r, "to"))
        for r in rows(report, key)
    )
