"""The kinds of value that the words of a request take, each with what makes it fit."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from orchestrator.adapters.intake import values
from orchestrator.domain.baseline import Classification
from orchestrator.domain.rollout import Amount

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_PATTERN = re.compile(r"[^\s@-][^\s]*")
_PLACEHOLDER = re.compile(r"{([a-z_]+)}")
_PLACEHOLDERS = ("address", "host")


class Part(BaseModel):
    """A mapping of the request, with exactly these keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    what: ClassVar[str] = "the key"


def _name(value: object) -> str:
    said = values.filled(value)
    if not _NAME.fullmatch(said):
        raise values.Unfit(f"{values.shown(said)} is no name; use small letters, digits, - and _")
    return said


def _host_pattern(value: object) -> str:
    said = values.filled(value)
    if not _PATTERN.fullmatch(said):
        raise values.Unfit(f"{values.shown(said)} is no host pattern; write a group or hosts, such as web or web:!web3")
    return said


def _some(value: object) -> timedelta:
    length = values.duration(value)
    if not length:
        raise values.Unfit("must be longer than nothing")
    return length


def _some_hosts(value: object) -> Amount:
    amount = values.amount(value)
    if amount.value == 0:
        raise values.Unfit("must be at least 1 (or 1%); leave the key out where it is not wanted")
    return amount


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 99:
        raise values.Unfit(f"must be a whole number from 1 to 99, not {values.shown(value)}")
    return value


def _argument(value: object) -> str:
    said = values.text(value)
    for found in _PLACEHOLDER.findall(said):
        if found not in _PLACEHOLDERS:
            raise values.Unfit(f"{{{found}}} is unknown here; there are {{address}} and {{host}}")
    return said


def _url(value: object) -> str:
    said = _argument(values.line(value))
    try:
        parts = urlsplit(said)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.netloc or "@" in parts.netloc or re.search(r"\s", said):
        raise values.Unfit(f"{values.shown(said)} is no address; write http://{{address}}:8080/health or the like")
    return said


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise values.Unfit(f"must be a mapping (name: text), not {values.named(value)}")
    return {_name(key): values.text(text) for key, text in value.items()}


def _number(low: int, high: int) -> PlainValidator:
    return PlainValidator(lambda value: _between(low, high, value))


def _numbers(low: int, high: int) -> PlainValidator:
    """Return what reads one number or a list of them."""
    return PlainValidator(
        lambda value: tuple(_between(low, high, item) for item in (value if isinstance(value, list) else [value]))
    )


def _between(low: int, high: int, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise values.Unfit(f"must be a whole number from {low} to {high}, not {values.shown(value)}")
    return value


Text = Annotated[str, PlainValidator(values.text)]
Filled = Annotated[str, PlainValidator(values.filled)]
Line = Annotated[str, PlainValidator(values.line)]
Name = Annotated[str, PlainValidator(_name)]
HostPattern = Annotated[str, PlainValidator(_host_pattern)]
Duration = Annotated[timedelta, PlainValidator(values.duration)]
SomeTime = Annotated[timedelta, PlainValidator(_some)]
AnyHosts = Annotated[Amount, PlainValidator(values.amount)]
SomeHosts = Annotated[Amount, PlainValidator(_some_hosts)]
Seats = Annotated[int, PlainValidator(_count)]
Port = Annotated[int, _number(1, 65535)]
Retries = Annotated[int, _number(0, 100)]
Statuses = Annotated[tuple[int, ...], _numbers(100, 599)]
ExitCodes = Annotated[tuple[int, ...], _numbers(0, 255)]
Bytes = Annotated[int, PlainValidator(values.size)]
LocalTime = Annotated[str, PlainValidator(values.local_time)]
Zone = Annotated[str, PlainValidator(values.zone)]
Url = Annotated[str, PlainValidator(_url)]
Argument = Annotated[str, PlainValidator(_argument)]
Labels = Annotated[dict[str, str], PlainValidator(_labels)]
Classifications = Annotated[tuple[Classification, ...], BeforeValidator(lambda value: [] if value == "any" else value)]
