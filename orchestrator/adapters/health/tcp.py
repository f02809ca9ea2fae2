"""Does a port accept connections.

Options: ``port`` (needed), ``timeout``, ``retries``, ``delay``.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from orchestrator.adapters.health.asking import Answer, Asking, ask_all
from orchestrator.adapters.health.options import Options, port
from orchestrator.domain.health import HealthCheck, HealthReport
from orchestrator.domain.inventory import Host


class TcpCheck:
    """Connects to a port of each host; implements ``ports.ServiceCheck``."""

    def __init__(self, asking: Asking | None = None) -> None:
        self._asking = asking or Asking()

    def check(self, hosts: Sequence[Host], check: HealthCheck) -> Sequence[HealthReport]:
        """Return one report per host. Raises InvalidInput where the options make no sense."""
        options = Options(check=check)
        number = options.needed("port", port, 0, "a port from 1 to 65535")
        patience = options.patience()
        options.done()
        return ask_all(hosts, check, lambda host: _ask(host, number, patience.timeout), patience, self._asking)


def _ask(host: Host, number: int, timeout: float) -> Answer:
    try:
        socket.create_connection((host.connection.address, number), timeout=timeout).close()
    except TimeoutError:
        return Answer(passed=False, detail=f"port {number} gave no answer within {timeout:g} s")
    except OSError as error:
        return Answer(passed=False, detail=f"port {number}: {(error.strerror or str(error)).lower()}")
    return Answer(passed=True, detail=f"port {number} accepts connections")
