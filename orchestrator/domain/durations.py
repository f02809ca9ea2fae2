"""Times as people write them in settings and inventories."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"([1-9][0-9]{0,4})([smhd])")


def length_of(text: str) -> timedelta | None:
    """Read ``90s``, ``10m``, ``2h`` or ``3d``; None where it is no such time."""
    match = _DURATION.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
