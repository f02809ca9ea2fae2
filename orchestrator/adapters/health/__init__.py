"""Health checks that ask a service itself: over HTTP, by connecting, or with a command on the controller."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.adapters.health.command import CommandCheck
from orchestrator.adapters.health.http import HttpCheck
from orchestrator.adapters.health.tcp import TcpCheck
from orchestrator.domain.health import CheckKind
from orchestrator.ports import ServiceCheck

__all__ = ["CommandCheck", "HttpCheck", "TcpCheck", "service_checks"]


def service_checks() -> Mapping[CheckKind, ServiceCheck]:
    """Return the checks that are built in, by kind."""
    return {CheckKind.HTTP: HttpCheck(), CheckKind.TCP: TcpCheck(), CheckKind.COMMAND: CommandCheck()}
