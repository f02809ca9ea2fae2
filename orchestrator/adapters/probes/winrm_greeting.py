"""The way to a Windows host up to the login: TCP, TLS, and which ways to log in it offers. No secret is shown here."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Sequence
from functools import lru_cache

import certifi

from orchestrator.adapters.probes.connecting import connect
from orchestrator.adapters.probes.stages import Deadline, StageFailed
from orchestrator.domain.inventory import Connection, WinRm
from orchestrator.domain.probe import Stage

#: What a host has to offer for a way to log in; for a certificate it offers nothing, since that is TLS's.
_OFFERED_AS = {
    "negotiate": {"negotiate"},
    "ntlm": {"negotiate", "ntlm"},
    "kerberos": {"kerberos", "negotiate"},
    "credssp": {"credssp"},
    "basic": {"basic"},
}
_SCHEME = re.compile(r"\s*([A-Za-z]+)")


def greet(connection: Connection, winrm: WinRm, deadline: Deadline) -> frozenset[str]:
    """Go up to the login; return the ways that the host offers, in small letters. Raises StageFailed."""
    with connect(connection.address, connection.port, deadline) as plain:
        plain.settimeout(deadline.left)
        if not winrm.is_encrypted:
            return _offered(plain, connection, winrm, deadline)
        with _secured(plain, connection, winrm, deadline) as stream:
            return _offered(stream, connection, winrm, deadline)


def usable(winrm: WinRm, offered: frozenset[str]) -> Sequence[str]:
    """Return the ways to log in that the inventory asks for and the host offers. Raises StageFailed without one."""
    found = [way for way in winrm.authentication if way == "certificate" or _OFFERED_AS[way] & offered]
    if not found:
        wanted, there = ", ".join(winrm.authentication), ", ".join(sorted(offered)) or "nothing"
        raise StageFailed(Stage.AUTHENTICATE, f"the inventory asks for {wanted}, and the host offers {there}")
    if "basic" in found and not winrm.is_encrypted:
        raise StageFailed(
            Stage.AUTHENTICATE,
            "Basic over HTTP would show the password to the network: use HTTPS, or another way to log in (ntlm)",
        )
    return found


def _secured(plain: socket.socket, connection: Connection, winrm: WinRm, deadline: Deadline) -> socket.socket:
    place = f"{connection.address} port {connection.port}"
    try:
        context = _context(winrm.trust, winrm.is_validated)
        return context.wrap_socket(plain, server_hostname=connection.address)
    except ssl.SSLCertVerificationError as error:
        trusted = winrm.trust or "the usual authorities"
        what = error.verify_message.rstrip(".")
        raise StageFailed(Stage.TLS, f"the certificate of {place} is not valid: {what} (trusted: {trusted})") from error
    except TimeoutError as error:
        raise StageFailed(Stage.TLS, f"{place} did not finish the TLS handshake within {deadline}") from error
    except ssl.SSLError as error:
        raise StageFailed(Stage.TLS, f"{place} does not speak TLS as it should: {error.reason or error}") from error
    except OSError as error:
        raise StageFailed(Stage.TLS, f"{place} broke off the TLS handshake: {error.strerror or error}") from error


@lru_cache(maxsize=32)
def _context(trust: str, is_validated: bool) -> ssl.SSLContext:
    """Return what TLS is spoken with; as Ansible, with the authorities that come with Python's own packages.

    Raises StageFailed where the authorities cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not is_validated:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(trust or certifi.where())
    except OSError as error:
        raise StageFailed(Stage.TLS, f"the authorities in {trust} cannot be read: {error.strerror or error}") from error
    return context


def _offered(stream: socket.socket, connection: Connection, winrm: WinRm, deadline: Deadline) -> frozenset[str]:
    place = f"{connection.address} port {connection.port}"
    asking = http.client.HTTPConnection(connection.address, connection.port)
    asking.sock = stream
    try:
        asking.request("POST", winrm.path, headers={"Content-Length": "0"})
        with asking.getresponse() as answer:
            status, ways = answer.status, answer.headers.get_all("WWW-Authenticate") or []
    except TimeoutError as error:
        told = f"{place} takes connections, and did not answer within {deadline}"
        raise StageFailed(Stage.CONNECT, told) from error
    except (http.client.HTTPException, OSError) as error:
        told = f"{place} takes connections, and does not answer as WinRM should: {type(error).__name__}"
        raise StageFailed(Stage.CONNECT, told) from error
    if status in (http.HTTPStatus.OK, http.HTTPStatus.UNAUTHORIZED):
        return frozenset(found[1].lower() for way in ways for part in way.split(",") if (found := _SCHEME.match(part)))
    raise StageFailed(
        Stage.CONNECT, f"{place} answers HTTP {status}, where WinRM would ask who is there (path {winrm.path})"
    )
