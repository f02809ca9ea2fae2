"""The small languages of a request: durations, amounts, sizes, local times and zones.

Every reading function raises Unfit with a sentence that says how to write it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from zoneinfo import available_timezones

from orchestrator.domain.rollout import Amount

NOW = "now"
LONGEST_TEXT = 4096

_DURATION = re.compile(
    r"(?:([0-9]{1,6})w)? ?(?:([0-9]{1,6})d)? ?(?:([0-9]{1,6})h)? ?(?:([0-9]{1,6})m)? ?(?:([0-9]{1,6})s)?"
)
_UNITS = ("weeks", "days", "hours", "minutes", "seconds")
_LONGEST = timedelta(days=366)
_AMOUNT = re.compile(r"([0-9]{1,6})(%?)")
_SIZE = re.compile(r"([0-9]{1,6}) ?([KMGT])(?:i?B)?")
_POWERS = {"K": 10, "M": 20, "G": 30, "T": 40}
_LOCAL_TIME = re.compile(r"(20[0-9]{2}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(?::00)?")


class Unfit(ValueError):
    """A value that cannot be what it should be; the message says why and how to write it."""


def text(value: object) -> str:
    """Return a text; a whole number stands for its digits."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unfit(f"must be a text, not {named(value)}")
    said = str(value)
    if len(said) > LONGEST_TEXT:
        raise Unfit(f"is longer than {LONGEST_TEXT} characters")
    return said


def filled(value: object) -> str:
    """Return a text that is not blank, without the space around it."""
    said = text(value).strip()
    if not said:
        raise Unfit("must not be empty")
    return said


def line(value: object) -> str:
    """Return a text of one line that is not blank."""
    said = filled(value)
    if "\n" in said:
        raise Unfit("must be one line")
    return said


def duration(value: object) -> timedelta:
    """Read ``90s``, ``45m``, ``2h30m``, ``3d`` or ``1w``."""
    how = "write a duration with its unit, such as 45m, 4h, 2h30m or 3d"
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not any(match.groups()):
        raise Unfit(f"{shown(value)} is no duration; {how}")
    length = timedelta(**{unit: int(said or 0) for unit, said in zip(_UNITS, match.groups(), strict=True)})
    if length > _LONGEST:
        raise Unfit(f"{shown(value)} is longer than {_LONGEST.days} days")
    return length


def amount(value: object) -> Amount:
    """Read a number of hosts (``2``) or a share of them (``10%``)."""
    said = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    match = _AMOUNT.fullmatch(said)
    if match is None:
        raise Unfit(f'{shown(value)} is no amount; write a whole number of hosts (2) or a percentage ("10%")')
    found = Amount(value=int(match[1]), percent=bool(match[2]))
    if found.percent and found.value > 100:
        raise Unfit(f"{found} is more than all of the hosts")
    return found


def size(value: object) -> int:
    """Read ``500M`` or ``2G`` as bytes (multiples of 1024)."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Unfit(f"{shown(value)} is no size; write a whole number with its unit, such as 500M or 2G")
    return int(match[1]) << _POWERS[match[2]]


def local_time(value: object) -> str:
    """Read ``2026-11-21T22:00`` or ``now``; whether it exists is for the zone to say."""
    said = value.strip() if isinstance(value, str) else ""
    if said == NOW:
        return said
    match = _LOCAL_TIME.fullmatch(said)
    if match is None:
        raise Unfit(f"{shown(value)} is no local time; write it as 2026-11-21T22:00 (or the word now)")
    return f"{match[1]}T{match[2]}"


def zone(value: object) -> str:
    """Read the name of a time zone."""
    name = filled(value)
    if name not in _zones():
        raise Unfit(
            f"the time zone {shown(name)} is unknown{nearest(name, _zones())}; use a name such as Europe/Berlin or UTC"
        )
    return name


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a remark that suggests the known name most like this one, or an empty text."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = get_close_matches(name[:80].casefold(), by_folded, n=1)
    return f" (did you mean {by_folded[close[0]]!r}?)" if close else ""


def named(value: object) -> str:
    """Return what kind of value this is, in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    kinds = {str: "a text", int: "a number", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), type(value).__name__)


def shown(value: object) -> str:
    """Return a value as an error message shows it: short, and a structure by its kind alone."""
    if value is None or isinstance(value, bool | list | dict):
        return str(value).lower() if isinstance(value, bool) else named(value)
    said = repr(value)
    return said if len(said) <= 60 else said[:57] + "…"


@cache
def _zones() -> frozenset[str]:
    # "localtime" is another zone on another machine.
    return frozenset(available_timezones()) - {"localtime"}
