"""The health checks that a request may ask for, under ``health:``."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import PurePath
from typing import ClassVar, Literal

from pydantic import StrictBool, field_validator, model_validator

from orchestrator.adapters.intake.fields import (
    Argument,
    Bytes,
    Duration,
    ExitCodes,
    Filled,
    Line,
    Part,
    Port,
    Retries,
    SomeTime,
    Statuses,
    Url,
)
from orchestrator.adapters.intake.values import Unfit
from orchestrator.domain.health import CheckKind, HealthCheck


class ServiceCheck(Part):
    """What every check of a service may say. What it leaves out is the check's own to decide."""

    what: ClassVar[str] = "the option"
    name: Line | None = None
    timeout: SomeTime | None = None
    retries: Retries | None = None
    delay: Duration | None = None

    @property
    def kind(self) -> CheckKind:
        """Return what the domain calls it."""
        return CheckKind(type(self).__name__.lower())

    @property
    def usual_name(self) -> str:
        """Return what it is called where the request gives it no name."""
        return self.kind

    def domain(self) -> HealthCheck:
        """Return it as the domain knows it: every option is a text, durations are seconds, lists have commas."""
        given = {key: value for key in type(self).model_fields if (value := getattr(self, key)) is not None}
        given.pop("name", None)
        options = {key: self._worded(value) for key, value in given.items()}
        return HealthCheck(name=self.name or self.usual_name, kind=self.kind, options=options)

    def _worded(self, value: object) -> str:
        if isinstance(value, timedelta):
            return str(int(value.total_seconds()))
        if isinstance(value, tuple):
            return ",".join(str(item) for item in value)
        return str(value).lower() if isinstance(value, bool) else str(value)


class Http(ServiceCheck):
    """A page answers."""

    url: Url
    status: Statuses = (200,)
    contains: Filled | None = None
    redirects: Literal["same-host", "anywhere", "never"] | None = None
    verify: StrictBool | None = None
    ca_file: Line | None = None

    @property
    def usual_name(self) -> str:
        """Return as its name what is asked of each host: ``http :8080/health``."""
        scheme, _, rest = self.url.partition("://")
        asked = rest.removeprefix("{address}").removeprefix("{host}")
        return f"http {self.url}" if asked == rest else f"{scheme} {asked or '/'}"


class Tcp(ServiceCheck):
    """A port takes a connection."""

    port: Port

    @property
    def usual_name(self) -> str:
        """Return the port as its name."""
        return f"tcp {self.port}"


class Command(ServiceCheck):
    """A command on the controller ends with 0, or with another code that passes."""

    argv: tuple[Argument, ...]
    rc: ExitCodes | None = None

    @field_validator("argv")
    @classmethod
    def _names_a_program(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        if not argv or not argv[0].strip():
            raise Unfit("is empty; write the program and its arguments, such as [curl, -f, ...]")
        return argv

    @property
    def usual_name(self) -> str:
        """Return the program as its name."""
        return f"command {PurePath(self.argv[0]).name}"

    def domain(self) -> HealthCheck:
        """Return it with its words as JSON: they may hold commas."""
        check = super().domain()
        return replace(check, options={**check.options, "argv": json.dumps(self.argv)})


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
    def service(self) -> ServiceCheck | None:
        """Return the check that asks the service; free space is compared with every look at a host and is none."""
        return self.http or self.tcp or self.command
