"""HTTP and HTTPS in front of WS-Management, with everything that can go wrong on the way."""

import contextlib
import http
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import Any, cast

import spnego
from spnego.channel_bindings import GssChannelBindings

from lab.windows.faults import Faults
from lab.windows.journal import Journal
from lab.windows.protocol import envelope
from lab.windows.protocol.authentication import Authenticator, Headers, Policy
from lab.windows.protocol.envelope import WsmanFault
from lab.windows.protocol.shells import Reset
from lab.windows.protocol.wsman import Wsman

_XML = "application/soap+xml;charset=UTF-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a connection needs to know of the host that it reached."""

    policy: Policy
    journal: Journal
    faults: Faults
    wsman: Wsman
    is_encrypted: bool
    allow_unencrypted: bool
    bindings: GssChannelBindings | None
    down: threading.Event


class Connection(BaseHTTPRequestHandler):
    """One client's connection; logins belong to it, as Windows does it."""

    protocol_version = "HTTP/1.1"
    server_version = "Microsoft-HTTPAPI/2.0"
    sys_version = ""
    # One write for each answer: otherwise its head would wait for the client's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, connection: socket.socket, peer: tuple[str, int], site: Site) -> None:
        self._site = site
        self._login = Authenticator(site.policy, site.journal, site.bindings)
        self._is_sealed = False
        super().__init__(connection, peer, cast("BaseServer", None))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._is_sealed = False
        if self._suffers():
            return
        if not self.path.split("?")[0].lower().rstrip("/").endswith("/wsman"):
            return self._reply(http.HTTPStatus.NOT_FOUND)
        verdict = self._login.check(self.headers.get("Authorization", ""), self._certificate())
        if not verdict.granted:
            return self._reply(http.HTTPStatus.UNAUTHORIZED, headers=verdict.headers)
        message = self._opened(body)
        if message is None:
            return None
        if not message:
            return self._reply(http.HTTPStatus.OK, headers=verdict.headers)
        return self._carry_out(message, verdict.headers)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the host's journal says what happened."""

    def _suffers(self) -> bool:
        """Let the faults that strike every request strike; tells whether the request is dealt with."""
        faults = self._site.faults
        if faults.has("silent"):
            self._site.journal.add("silent")
            self._site.down.wait()
            self.close_connection = True
            return True
        if slow := faults.strike("slow"):
            self._site.down.wait(slow.seconds)
        if status := faults.strike("http-status"):
            self._reply(status.status)
            return True
        if faults.strike("refuse-auth"):
            refused = self._login.refuse("fault", "refuse-auth")
            self._reply(http.HTTPStatus.UNAUTHORIZED, headers=refused.headers)
            return True
        return False

    def _opened(self, body: bytes) -> bytes | None:
        """Return the message in a request; None where the request was refused and answered."""
        if self.headers.get("Content-Type", "").startswith("multipart/"):
            self._is_sealed = True
            try:
                return self._login.unseal(body)
            except (ValueError, spnego.exceptions.SpnegoError) as broken:
                self._site.journal.add("seal-broken", why=str(broken)[:200])
                self._is_sealed = False
                self._reply(http.HTTPStatus.BAD_REQUEST)
                return None
        if body and not self._site.is_encrypted and not self._site.allow_unencrypted:
            self._site.journal.add("unencrypted-refused")
            self._reply(http.HTTPStatus.INTERNAL_SERVER_ERROR)
            return None
        return body

    def _carry_out(self, message: bytes, headers: Headers) -> None:
        try:
            answer = self._site.wsman.answer(message, self._login.user)
            self._reply(http.HTTPStatus.OK, answer.encode(), headers)
        except WsmanFault as problem:
            answer = envelope.fault(problem, message, self._site.policy.machine)
            self._reply(http.HTTPStatus.INTERNAL_SERVER_ERROR, answer.encode(), headers)
        except Reset:
            self._site.journal.add("connection-reset")
            reset(self.connection)
            self.close_connection = True

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def _certificate(self) -> str:
        """Return the common name in the client's certificate, which the TLS layer has verified."""
        if not isinstance(self.connection, ssl.SSLSocket):
            return ""
        told: Mapping[str, Any] = self.connection.getpeercert() or {}
        return next((value for part in told.get("subject", ()) for key, value in part if key == "commonName"), "")

    def _reply(self, status: int, body: bytes = b"", headers: Headers = ()) -> None:
        kind = _XML
        if self._is_sealed and body:
            body, kind = self._login.seal(body)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def reset(connection: socket.socket) -> None:
    """Close without a word: the client's system sees a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
