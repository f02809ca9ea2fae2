"""Is a host as well as it was before: the checks a change asks for, and the comparison of before and after."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase


class CheckKind(StrEnum):
    """What a check looks at. The first five compare two looks at the host; the others ask the service itself."""

    UNITS = "units"
    FAILED_UNITS = "failed-units"
    PORTS = "ports"
    DISK = "disk"
    EVENT_LOG = "event-log"
    HTTP = "http"
    TCP = "tcp"
    COMMAND = "command"


#: What every host is checked for, whether the change asks or not.
ALWAYS = (CheckKind.UNITS, CheckKind.FAILED_UNITS, CheckKind.PORTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One check of a change; ``options`` are its own words (url, port, status, argv, min_free_mb, …)."""

    name: str
    kind: CheckKind
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What one check found on one host now; ``before`` is whether it passed before the patch, where that was asked.

    ``advisory``: whatever it finds is told, and no damage by itself.
    """

    host: str
    check: str
    passed: bool
    detail: str = ""
    before: bool | None = None
    advisory: bool = False

    @property
    def counts(self) -> bool:
        """Tell whether this is damage: what did not pass before is not blamed on the patch."""
        return not self.passed and self.before is not False and not self.advisory


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A file system's size and free space in bytes."""

    path: str
    total: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """One look at a host (the ``state`` report of the playbooks). Times are epoch seconds.

    ``log_errors`` are the errors in its event log since the boot; None where the host keeps no such log (Linux).
    """

    boot_id: str = ""
    booted_at: int = 0
    time: int = 0
    kernel_running: str = ""
    kernel_newest: str = ""
    reboot_needed: bool = False
    reboot_reasons: tuple[str, ...] = ()
    stale_processes: tuple[str, ...] = ()
    running_units: tuple[str, ...] = ()
    failed_units: tuple[str, ...] = ()
    listening: tuple[str, ...] = ()
    disks: tuple[Disk, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    auto: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    manager_problems: tuple[str, ...] = ()
    log_errors: tuple[str, ...] | None = None


#: A word of digits alone: a time, a counter, the number of a process. `KB5034129` and `0x80070643` are none.
_NUMBER = re.compile(r"\b\d+\b")
#: Errors of the event log that are told in full; a host that writes more has one trouble, not many.
_ERRORS_TOLD = 5


def compare(
    host: str, before: HostState, after: HostState, *, ignored_units: Iterable[str] = (), min_free: int = 0
) -> tuple[HealthReport, ...]:
    """Compare two looks at a host: every unit and port that was there is there, nothing new has failed, space is left.

    ``min_free`` is in bytes. Timers and one-shot units come and go by themselves and are not in ``running_units``.
    New errors in the event log are told and are no damage: whether they matter, units, ports and the service say.
    """
    ignored = tuple(ignored_units)
    gone = [u for u in before.running_units if u not in after.running_units and not _matches(u, ignored)]
    failed = [u for u in after.failed_units if u not in before.failed_units and not _matches(u, ignored)]
    silent = sorted(set(before.listening) - set(after.listening))
    tight = [f"{d.path} has {d.free >> 20} MiB free" for d in after.disks if d.free < min_free]
    return (
        _report(host, CheckKind.UNITS, gone, "no longer running: "),
        _report(host, CheckKind.FAILED_UNITS, failed, "newly failed: "),
        _report(host, CheckKind.PORTS, silent, "no longer listening: "),
        _report(host, CheckKind.DISK, tight, ""),
        *_event_log(host, before, after),
    )


def new_errors(before: Iterable[str], after: Iterable[str]) -> tuple[str, ...]:
    """Return the errors of an event log that are of no kind seen before, each once, with how often it came.

    Two errors are of one kind where source, number and words are the same but for times, counters and process numbers.
    """
    known = {_kind(error) for error in before}
    first: dict[str, str] = {}
    count: dict[str, int] = {}
    for error in after:
        kind = _kind(error)
        if kind not in known:
            first.setdefault(kind, error)
            count[kind] = count.get(kind, 0) + 1
    return tuple(error if count[kind] == 1 else f"{error} ({count[kind]} times)" for kind, error in first.items())


def not_in_effect(state: HostState) -> tuple[str, ...]:
    """Return why what is installed is not yet in effect: an older kernel runs, or processes use deleted files."""
    reasons = []
    if state.kernel_newest and state.kernel_running != state.kernel_newest:
        reasons.append(f"kernel {state.kernel_running} is running, {state.kernel_newest} is installed")
    reasons += [f"{process} uses files that were replaced" for process in state.stale_processes]
    return tuple(reasons)


def _event_log(host: str, before: HostState, after: HostState) -> tuple[HealthReport, ...]:
    if after.log_errors is None:
        return ()
    found = new_errors(before.log_errors or (), after.log_errors)
    told = [*found[:_ERRORS_TOLD], *([f"and {len(found) - _ERRORS_TOLD} more"] if len(found) > _ERRORS_TOLD else [])]
    detail = f"new errors: {'; '.join(told)}" if told else ""
    return (HealthReport(host=host, check=CheckKind.EVENT_LOG, passed=not found, detail=detail, advisory=True),)


def _kind(error: str) -> str:
    """Return what errors of one kind have in common. `SOURCE NUMBER: words`: the number in front is part of it."""
    name, colon, words = error.partition(": ")
    return name + colon + _NUMBER.sub("#", words)


def _matches(unit: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(unit, pattern) for pattern in patterns)


def _report(host: str, kind: CheckKind, found: list[str], prefix: str) -> HealthReport:
    return HealthReport(host=host, check=kind, passed=not found, detail=prefix + ", ".join(found) if found else "")
