"""The listeners of one host: ports 5985 and 5986 of its address, closed while it is down."""

import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from spnego.channel_bindings import GssChannelBindings

from lab.errors import LabError
from lab.windows.agreed import HTTP_PORT, HTTPS_PORT
from lab.windows.faults import Faults
from lab.windows.journal import Journal
from lab.windows.protocol import certificates
from lab.windows.protocol.authentication import Policy
from lab.windows.protocol.http import Connection, Site
from lab.windows.protocol.shells import Work
from lab.windows.protocol.wsman import Wsman

_HANDSHAKE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate that HTTPS shows, and what ties logins to it."""

    context: ssl.SSLContext
    bindings: GssChannelBindings


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the listeners stand for: one host's logins, faults, journal, and the work that it does."""

    policy: Policy
    journal: Journal
    faults: Faults
    allow_unencrypted: bool
    run_command: Work
    run_script: Work


class Listeners:
    """Open and close the ports of one host."""

    def __init__(self, address: str, service: Service, certificate_folder: Path) -> None:
        self._address = address
        self._service = service
        self._tls = {name: _tls(certificate_folder, name) for name in (certificates.SERVER, certificates.EXPIRED)}
        self._open: list[socket.socket] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._down = threading.Event()
        self._wsman: Wsman | None = None

    def open(self) -> None:
        """Begin to answer; LabError where somebody else has the address."""
        service = self._service
        self._down = threading.Event()
        self._wsman = Wsman(service.policy.machine, service.journal, service.run_command, service.run_script)
        for port in (HTTP_PORT, HTTPS_PORT):
            listening = _listen(self._address, port)
            self._open.append(listening)
            arguments = (listening, port == HTTPS_PORT, self._wsman, self._down)
            threading.Thread(target=self._accept, args=arguments, name=f"{self._address}:{port}", daemon=True).start()

    def close(self) -> None:
        """Stop answering, and break what is connected."""
        self._down.set()
        if self._wsman:
            self._wsman.end()
        for listening in self._open:
            # Wakes the thread that accepts; closing alone would leave it waiting.
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        self._open.clear()
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket, is_encrypted: bool, wsman: Wsman, down: threading.Event) -> None:
        while not down.is_set():
            try:
                connection, peer = listening.accept()
            except OSError:
                return
            arguments = (connection, peer, is_encrypted, wsman, down)
            threading.Thread(target=self._serve, args=arguments, name=f"client {peer}", daemon=True).start()

    def _serve(
        self, plain: socket.socket, peer: tuple[str, int], is_encrypted: bool, wsman: Wsman, down: threading.Event
    ) -> None:
        service, connection, bindings = self._service, plain, None
        with contextlib.ExitStack() as stack:
            stack.callback(plain.close)
            stack.enter_context(contextlib.suppress(OSError))
            if is_encrypted:
                expired = service.faults.strike("expired-certificate")
                tls = self._tls[certificates.EXPIRED if expired else certificates.SERVER]
                plain.settimeout(_HANDSHAKE_SECONDS)
                connection, bindings = tls.context.wrap_socket(plain, server_side=True), tls.bindings
                connection.settimeout(None)
                stack.callback(connection.close)
            with self._lock:
                self._connections.add(connection)
            site = Site(
                policy=service.policy,
                journal=service.journal,
                faults=service.faults,
                wsman=wsman,
                is_encrypted=is_encrypted,
                allow_unencrypted=service.allow_unencrypted,
                bindings=bindings,
                down=down,
            )
            try:
                Connection(connection, peer, site)
            finally:
                with self._lock:
                    self._connections.discard(connection)


def _listen(address: str, port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address, port))
        listening.listen(256)
    except OSError as taken:
        listening.close()
        raise LabError(f"A Windows host cannot listen on {address}:{port}: {taken.strerror}.") from taken
    return listening


def _tls(folder: Path, name: str) -> Tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    context.load_verify_locations(folder.parent / f"{certificates.AUTHORITY}.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return Tls(context, certificates.bindings(folder / f"{name}.pem"))
