"""Reaching a host at all: its name, and a TCP connection."""

from __future__ import annotations

import socket
import threading

from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.probe import Stage


def connect(address: str, port: int, deadline: Deadline) -> socket.socket:
    """Open a TCP connection. Raises StageFailed."""
    try:
        target = _resolved(address, port, deadline)
        return socket.create_connection(target, timeout=deadline.left)
    except socket.gaierror as error:
        raise StageFailed(Stage.CONNECT, f"the name {address} does not resolve: {error.strerror}") from error
    except TimeoutError as error:
        raise StageFailed(Stage.CONNECT, f"no answer from {address} port {port} within {deadline}") from error
    except (OSError, ValueError, OverflowError) as error:
        refused = isinstance(error, ConnectionRefusedError)
        reason = "connection refused" if refused else getattr(error, "strerror", None) or str(error)
        raise StageFailed(Stage.CONNECT, f"{address} port {port}: {reason}") from error


def _resolved(address: str, port: int, deadline: Deadline) -> tuple[str, int]:
    """Return the numeric address. A name server that is silent has no time-out of its own, hence the thread."""
    found: list[tuple[str, int]] = []
    failed: list[Exception] = []

    def resolve() -> None:
        try:
            entry = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
            found.append((str(entry[4][0]), port))
        except Exception as error:  # a name that no resolver would take raises UnicodeError or OverflowError
            failed.append(error)

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(deadline.left)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError
    return found[0]
