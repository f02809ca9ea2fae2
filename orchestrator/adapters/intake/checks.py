"""The health checks that a request may ask for, under ``health:``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePath
from typing import ClassVar

from pydantic import field_validator, model_validator

from orchestrator.adapters.intake.fields import Argument, Bytes, Line, Part, Port, SomeTime, Status, Text, Url
from orchestrator.adapters.intake.values import Unfit


class Http(Part):
    """A page answers."""

    what: ClassVar[str] = "the option"
    name: Line | None = None
    url: Url
    status: Status = 200
    contains: Text = ""
    timeout: SomeTime = timedelta(seconds=10)


class Tcp(Part):
    """A port takes a connection."""

    what: ClassVar[str] = "the option"
    name: Line | None = None
    port: Port
    timeout: SomeTime = timedelta(seconds=5)


class Command(Part):
    """A command on the controller ends with 0."""

    what: ClassVar[str] = "the option"
    name: Line | None = None
    argv: tuple[Argument, ...]
    timeout: SomeTime = timedelta(seconds=30)

    @field_validator("argv")
    @classmethod
    def _names_a_program(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        if not argv:
            raise Unfit("is empty; write the program and its arguments, such as [curl, -f, ...]")
        return argv


class FreeSpace(Part):
    """Every file system keeps that much free."""

    what: ClassVar[str] = "the option"
    min_free: Bytes


class Health(Part):
    """One check: exactly one of the kinds."""

    what: ClassVar[str] = "the health check"
    http: Http | None = None
    tcp: Tcp | None = None
    command: Command | None = None
    disk: FreeSpace | None = None

    @model_validator(mode="after")
    def _is_one_check(self) -> Health:
        given = sorted(self.model_fields_set)
        if not given:
            raise Unfit("names no check, or one without options; write it as - tcp: {port: 22}")
        if len(given) > 1:
            raise Unfit(f"holds {' and '.join(given)}; begin each check with a - of its own")
        return self

    @property
    def name(self) -> str:
        """Return what its reports are called, or an empty text for what is not a check of its own."""
        if self.http:
            return self.http.name or f"http {self.http.url}"
        if self.tcp:
            return self.tcp.name or f"tcp {self.tcp.port}"
        if self.command:
            return self.command.name or f"command {PurePath(self.command.argv[0]).name}"
        return ""
