"""One way to write a value as bytes, so that a digest means the same to everybody (RFC 8785 for what we use of JSON).

Objects become dictionaries, times RFC 3339 in UTC, durations whole seconds; numbers are integers only, since a float
has more than one spelling.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TypeAlias

Plain: TypeAlias = "None | bool | int | str | list[Plain] | dict[str, Plain]"

#: Metadata of a dataclass field that came later than values without it had been signed: it is left out where it is
#: empty, so that these keep their digest.
CAME_LATER: Mapping[str, bool] = {"came later": True}


def canonical(value: object) -> bytes:
    """Return the canonical JSON of ``value``: sorted ASCII keys, no spaces, UTF-8, no newline at the end."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: object) -> str:
    """Return the sha256 of the canonical form, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def plain(value: object) -> Plain:
    """Turn frozen values into what JSON knows.

    Raises TypeError for floats, naive times, keys that are not ASCII text, and everything else that JSON cannot say.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return int(value.total_seconds())
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(item)
            for field in fields(value)
            if (item := getattr(value, field.name)) or "came later" not in field.metadata
        }
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted((plain(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"canonical JSON has no form for {type(value).__name__}: {value!r}")


def rfc3339(at: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with whole seconds or microseconds: ``2026-11-20T22:00:00Z``."""
    if at.tzinfo is None:
        raise TypeError(f"a time without a zone cannot be recorded: {at!r}")
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Return the aware UTC time that ``rfc3339`` wrote. Raises ValueError."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"no zone in {text!r}")
    return at.astimezone(UTC)


def _key(key: object) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str) or not key.isascii():
        raise TypeError(f"canonical JSON keys are ASCII text, not {key!r}")
    return key
