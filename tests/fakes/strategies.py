"""Any value of the domain, with all its fields set to something, for tests of what must hold whatever is in them."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

#: What JSON and every database here can say. Lone surrogates are no text, and PostgreSQL keeps no NUL in a column.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
ASCII_KEY = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=8)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2037, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
SPANS = st.integers(0, 10**6).map(lambda seconds: timedelta(seconds=seconds))
#: Numbers that every reader of JSON understands.
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ASCII_KEY, inner, max_size=3),
    max_leaves=6,
)
_SIMPLE: Mapping[object, st.SearchStrategy[Any]] = {
    str: TEXT, int: NUMBERS, bool: st.booleans(), datetime: MOMENTS, timedelta: SPANS, type(None): st.none(),
}  # fmt: skip


def any_of(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for a type of the domain: a dataclass, or what the fields of one may be."""
    return _any_of(hint)


@cache
def _any_of(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    arguments = get_args(hint)
    origin = get_origin(hint)
    if origin in (types.UnionType, Union):
        return st.one_of(*(any_of(one) for one in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(any_of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(any_of(one) for one in arguments))
    if origin is frozenset:
        return st.frozensets(any_of(arguments[0]), max_size=3)
    if origin is not None and issubclass(origin, Mapping):
        values = PLAIN if "Plain" in str(arguments[1]) else any_of(arguments[1])
        return st.dictionaries(ASCII_KEY, values, max_size=3)
    return _of_class(hint)


def parts_of(kind: type) -> set[type]:
    """Return the dataclass itself and every dataclass that its fields are made of."""
    found, waiting = set(), {kind}
    while waiting:
        one = waiting.pop()
        found.add(one)
        for hint in get_type_hints(one).values():
            waiting |= _dataclasses_in(hint) - found
    return found


def names_of(kind: type) -> list[str]:
    """Return the names of a dataclass's fields."""
    return [field.name for field in fields(kind)]


def _of_class(hint: object) -> st.SearchStrategy[Any]:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        build: Callable[..., object] = hint
        return st.builds(build, **{field.name: any_of(hints[field.name]) for field in fields(hint)})
    raise TypeError(f"no strategy for {hint}")


def _dataclasses_in(hint: object) -> set[type]:
    if isinstance(hint, type) and is_dataclass(hint):
        return {hint}
    return {found for argument in get_args(hint) for found in _dataclasses_in(argument)}
