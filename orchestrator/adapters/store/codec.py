"""Values to canonical JSON and back; what is written is what a digest would be taken of."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter

from orchestrator.domain.audit import AuditEvent
from orchestrator.domain.canonical import canonical, parse_rfc3339, rfc3339

T = TypeVar("T")
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}  # Building one takes milliseconds.


def encode(value: object) -> str:
    """Return the canonical JSON of a value."""
    return canonical(value).decode()


def decode(kind: type[T], text: str) -> T:
    """Return the value that ``encode`` wrote. Raises pydantic.ValidationError where it was not that kind."""
    adapter: TypeAdapter[T] | None = _ADAPTERS.get(kind)
    if adapter is None:
        adapter = _ADAPTERS[kind] = TypeAdapter(kind)
    return adapter.validate_json(text)


def moment(at: datetime) -> str:
    """Return a time as a column holds it: RFC 3339, and always to the microsecond, so that texts sort as times do."""
    text = rfc3339(at)
    return text if "." in text else f"{text[:-1]}.000000Z"


def decode_event(text: str) -> AuditEvent:
    """Return an audit event; its free ``data`` is taken as it stands."""
    fields = json.loads(text)
    return AuditEvent(**{**fields, "at": parse_rfc3339(fields["at"])})
