"""An SSH session with a host, step by step, so that each failure names the stage at which it happened.

Unlike Ansible's ssh it reads no ``~/.ssh/config``: it goes where the inventory's connection says.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from orchestrator.adapters.probes.connecting import connect
from orchestrator.adapters.probes.known_hosts import HostKey
from orchestrator.adapters.probes.shell import Answer
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection
from orchestrator.domain.probe import Stage

#: paramiko's threads log what they raise as well, with tracebacks: the report says it once, in words.
_LOG_CHANNEL = f"{__name__}.paramiko"
logging.getLogger(_LOG_CHANNEL).setLevel(logging.CRITICAL + 1)

_OUTPUT_LIMIT = 256 * 1024
_SIGNATURE_KINDS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


class NoCommonAlgorithm(StageFailed):
    """The host is there but speaks no algorithm that was asked for."""


@contextmanager
def session(
    connection: Connection, deadline: Deadline, kinds: Sequence[str] = (), *, only: bool = False
) -> Iterator[paramiko.Transport]:
    """Connect, and end the session with the block or the deadline, whichever comes first.

    ``kinds`` are the kinds of host key asked for first, or ``only`` them. Nothing is checked yet and nobody logged in.
    Raises StageFailed.
    """
    connected = connect(connection.address, connection.port, deadline)
    transport = paramiko.Transport(connected)
    # Some of paramiko's waits know no time-out; all of them end when the transport is closed.
    watchdog = threading.Timer(deadline.left, transport.close)
    watchdog.daemon = True
    watchdog.start()
    try:
        _shake_hands(transport, connection, deadline, _algorithms(transport, kinds, only=only))
        yield transport
    finally:
        watchdog.cancel()
        transport.close()
        connected.close()


def host_key(transport: paramiko.Transport) -> HostKey:
    """Return the key with which the host proved who it is."""
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.get_base64())


def check_host_key(name: str, offered: HostKey, known: Sequence[HostKey]) -> None:
    """Raise StageFailed unless the key is one of the known ones; ``name`` is the host's in the inventory."""
    if offered in known:
        return
    command = f"orchestrator host trust {name}"
    if known:
        raise StageFailed(
            Stage.HOST_KEY,
            f"the host key CHANGED: it is {offered} now, pinned is {', '.join(map(str, known))}. "
            f"Find out why. If the host was set up anew, type: {command}",
        )
    raise StageFailed(
        Stage.HOST_KEY,
        f"the host key {offered} is not pinned. Compare it with what the host itself shows "
        f"(ssh-keygen -lf /etc/ssh/ssh_host_KIND_key.pub) and type: {command}",
    )


class SshShell:
    """Commands on a host through an authenticated session."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self._transport = transport

    def run(self, command: str, stdin: bytes, deadline: Deadline) -> Answer:
        """Run a command; what it said until the deadline is kept."""
        out, err = bytearray(), bytearray()
        code: int | None = None
        with suppress(paramiko.SSHException, OSError, EOFError):
            channel = self._transport.open_session(timeout=deadline.left)
            channel.settimeout(deadline.left)
            channel.exec_command(command)
            with suppress(OSError):  # A command that does not read to the end is none the worse for it.
                channel.sendall(stdin)
                channel.shutdown_write()
            while len(out) < _OUTPUT_LIMIT and (piece := channel.recv(_OUTPUT_LIMIT)):
                out += piece
            while len(err) < _OUTPUT_LIMIT and (piece := channel.recv_stderr(_OUTPUT_LIMIT)):
                err += piece
            if channel.status_event.wait(deadline.left) and not deadline.is_over:
                code = channel.exit_status
        return Answer(code=code, out=out.decode(errors="replace"), err=err.decode(errors="replace"))


def _algorithms(transport: paramiko.Transport, kinds: Sequence[str], *, only: bool) -> Sequence[str]:
    """Return the host key algorithms to ask for, those of the pinned kinds first, as OpenSSH does."""
    known = tuple(transport.get_security_options().key_types)
    asked = [algorithm for kind in kinds for algorithm in _SIGNATURE_KINDS.get(kind, (kind,)) if algorithm in known]
    return asked if only else [*asked, *(algorithm for algorithm in known if algorithm not in asked)]


def _shake_hands(
    transport: paramiko.Transport, connection: Connection, deadline: Deadline, algorithms: Sequence[str]
) -> None:
    transport.set_log_channel(_LOG_CHANNEL)
    transport.banner_timeout = transport.handshake_timeout = deadline.left
    transport.get_security_options().key_types = tuple(algorithms)
    place = f"{connection.address} port {connection.port}"
    try:
        transport.start_client(timeout=deadline.left)
        transport.get_remote_server_key()
    except IncompatiblePeer as error:
        raise NoCommonAlgorithm(Stage.CONNECT, f"{place} offers no algorithm that is accepted here: {error}") from error
    except Exception as error:  # paramiko hands on whatever its thread caught
        if deadline.is_over:
            raise StageFailed(Stage.CONNECT, f"{place} did not finish the SSH handshake within {deadline}") from error
        reason = str(error) or "the connection was closed"
        raise StageFailed(Stage.CONNECT, f"{place} answers, but not as SSH should: {reason}") from error
