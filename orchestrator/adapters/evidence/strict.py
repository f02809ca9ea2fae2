"""Reading evidence without trusting it: canonical JSON only, and the shape that was promised."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import NoReturn, TypeAlias

from orchestrator.domain.canonical import Plain, canonical, parse_rfc3339, rfc3339

Object: TypeAlias = dict[str, Plain]

#: Greater integers are not the same number to every reader of JSON.
LARGEST = 2**53 - 1
#: Deeper nesting is nothing that we write, and exhausts readers.
DEEPEST = 64

_HEX = re.compile(r"[0-9a-f]{64}")


class Malformed(Exception):
    """What was read is not what the format says; the text says how."""


def parse(raw: bytes) -> Plain:
    """Return what canonical JSON says. Raises Malformed for everything else, however valid as JSON."""
    try:
        value: Plain = json.loads(
            raw.decode(), parse_float=_no_number, parse_constant=_no_number, parse_int=_exact_integer
        )
        _refuse_depth(value)
        again = canonical(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"is not canonical JSON: {str(error)[:120]}") from error
    if again != raw:
        raise Malformed("is not canonical JSON: the same values are written differently (order, spaces or spelling)")
    return value


def parse_lines(raw: bytes) -> Iterator[Plain]:
    """Return the values of canonical JSON lines, each ended by a newline. Raises Malformed."""
    if raw and not raw.endswith(b"\n"):
        raise Malformed("does not end with a newline")
    for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
        try:
            yield parse(line)
        except Malformed as error:
            raise Malformed(f"line {number} {error}") from error


def sha256(raw: bytes) -> str:
    """Return the sha256 in hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


def entry(value: Plain, what: str, keys: frozenset[str] | None = None) -> Object:
    """Return the value as an object with exactly these keys (any, where none are named). Raises Malformed."""
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not an object")
    if keys is not None and value.keys() != keys:
        differs = sorted(value.keys() ^ keys)
        raise Malformed(f"{what} has not exactly the fields it must have: {', '.join(differs)}")
    return value


def entries(value: Plain, what: str, keys: frozenset[str] | None = None) -> list[Object]:
    """Return the value as a list of objects. Raises Malformed."""
    if not isinstance(value, list):
        raise Malformed(f"{what} is not a list")
    return [entry(item, f"{what}, entry {number},", keys) for number, item in enumerate(value, start=1)]


def text(of: Object, key: str) -> str:
    """Return the text under the key. Raises Malformed."""
    value = of.get(key)
    if not isinstance(value, str):
        raise Malformed(f"{key} is not a text")
    return value


def number(of: Object, key: str) -> int:
    """Return the integer under the key. Raises Malformed."""
    value = of.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(f"{key} is not a number")
    return value


def flag(of: Object, key: str) -> bool:
    """Return the truth value under the key. Raises Malformed."""
    value = of.get(key)
    if not isinstance(value, bool):
        raise Malformed(f"{key} is neither true nor false")
    return value


def texts(of: Object, key: str) -> list[str]:
    """Return the list of texts under the key. Raises Malformed."""
    value = of.get(key)
    if not isinstance(value, list):
        raise Malformed(f"{key} is not a list of texts")
    found = [item for item in value if isinstance(item, str)]
    if len(found) != len(value):
        raise Malformed(f"{key} is not a list of texts")
    return found


def moment(of: Object, key: str) -> str:
    """Return the time under the key, which must be spelled as we spell times. Raises Malformed."""
    value = text(of, key)
    try:
        same = rfc3339(parse_rfc3339(value)) == value
    except (ValueError, OverflowError):
        same = False
    if not same:
        raise Malformed(f"{key} is not a time in UTC as the format writes it: {value[:40]!r}")
    return value


def hash_text(of: Object, key: str) -> str:
    """Return the sha256 under the key: 64 hexadecimal digits in lower case. Raises Malformed."""
    value = text(of, key)
    if not is_hash(value):
        raise Malformed(f"{key} is not a sha256")
    return value


def same(one: Plain, other: Plain) -> bool:
    """Tell whether two values are written alike; Python would hold 1 and true for equal."""
    return canonical(one) == canonical(other)


def is_hash(value: str) -> bool:
    """Tell whether the text is a sha256 as we write it."""
    return bool(_HEX.fullmatch(value))


def _no_number(spelled: str) -> NoReturn:
    raise ValueError(f"{spelled[:40]} is not an integer")


def _exact_integer(spelled: str) -> int:
    if len(spelled) > 17 or abs(int(spelled)) > LARGEST:
        raise ValueError(f"{spelled[:40]} is too large a number")
    return int(spelled)


def _refuse_depth(value: Plain) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {DEEPEST} levels deep")
