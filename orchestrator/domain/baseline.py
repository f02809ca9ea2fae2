"""Which of the updates on offer a change takes: classification, severity, age and name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase


class Classification(StrEnum):
    """What kind of update a package manager says it is."""

    SECURITY = "security"
    BUGFIX = "bugfix"
    ENHANCEMENT = "enhancement"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A newer version that a host's repositories offer; ``published`` is None where they do not tell.

    ``removable`` is False where nothing can take it back once it is installed, as some updates of Windows.
    """

    name: str
    arch: str
    from_version: str
    version: str
    classification: Classification = Classification.UNKNOWN
    severity: str = ""
    advisories: tuple[str, ...] = ()
    origin: str = ""
    sha256: str = ""
    filename: str = ""
    size: int = 0
    published: datetime | None = None
    held: bool = False
    removable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchBaseline:
    """The rule of choice. Empty ``classifications`` or ``severities`` mean any; patterns are those of fnmatch."""

    classifications: tuple[Classification, ...] = (Classification.SECURITY,)
    severities: tuple[str, ...] = ()
    delay: timedelta = timedelta(0)
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()


#: Told with the reason wherever a security update is left out.
OPEN = "an open security update"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An update that is on offer and will not be installed, and why."""

    name: str
    arch: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a baseline made of the candidates of one host."""

    chosen: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]


def select(candidates: Iterable[Candidate], baseline: PatchBaseline, *, now: datetime) -> Selection:
    """Divide the candidates into those that the baseline takes and those it leaves, each with its reason."""
    chosen, left_out = [], []
    for candidate in sorted(candidates, key=lambda c: (c.name, c.arch)):
        if reason := why_not(candidate, baseline, now=now):
            left_out.append(leave_out(candidate, reason))
        else:
            chosen.append(candidate)
    return Selection(chosen=tuple(chosen), left_out=tuple(left_out))


def leave_out(candidate: Candidate, reason: str) -> LeftOut:
    """Return the candidate as left out for this reason, marked where that leaves a hole open."""
    told = f"{reason} ({OPEN})" if candidate.classification is Classification.SECURITY else reason
    return LeftOut(name=candidate.name, arch=candidate.arch, version=candidate.version, reason=told)


def why_not(candidate: Candidate, baseline: PatchBaseline, *, now: datetime) -> str:
    """Return why the baseline leaves this candidate, or an empty text where it takes it."""
    if candidate.held:
        return "held on the host"
    if any(fnmatchcase(candidate.name, pattern) for pattern in baseline.exclude):
        return "excluded by the baseline"
    if not any(fnmatchcase(candidate.name, pattern) for pattern in baseline.include):
        return "not included by the baseline"
    if baseline.classifications and candidate.classification not in baseline.classifications:
        return f"classified {candidate.classification}"
    if baseline.severities and candidate.severity not in baseline.severities:
        return f"severity {candidate.severity or 'not told'}"
    if baseline.delay and candidate.published and now - candidate.published < baseline.delay:
        return f"published {candidate.published:%Y-%m-%d}, less than {baseline.delay.days} days ago"
    return ""
