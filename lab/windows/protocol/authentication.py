"""Who is there: Basic, client certificates, and NTLM, Kerberos and CredSSP with sealed messages (MS-WSMV 2.2.9.1)."""

import base64
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import spnego
from spnego.channel_bindings import GssChannelBindings

from lab.windows.agreed import KINDS
from lab.windows.journal import Journal

_CERTIFICATE = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
_BOUNDARY = b"--Encrypted Boundary"
_OFFERED = {"negotiate": "Negotiate", "kerberos": "Kerberos", "credssp": "CredSSP", "basic": 'Basic realm="WSMAN"'}
_SCHEMES = {"negotiate": "negotiate", "ntlm": "negotiate", "kerberos": "kerberos", "credssp": "credssp"}

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a host asks of who comes: the kinds it offers, the accounts, and the certificates with their account."""

    machine: str
    kinds: tuple[str, ...]
    accounts: Mapping[str, str] = field(repr=False)
    certificates: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the request may go on, and the headers that the answer carries."""

    granted: bool
    headers: Headers = ()


class Authenticator:
    """One connection's way to an account, and the sealing of its messages after that."""

    def __init__(self, policy: Policy, journal: Journal, bindings: GssChannelBindings | None) -> None:
        self._policy = policy
        self._journal = journal
        self._bindings = bindings
        self._context: spnego.ContextProxy | None = None
        self._sealed_by = b""
        self.user = ""

    def check(self, header: str, certificate: str) -> Verdict:
        """Judge one request by its Authorization header and the name in the client's certificate."""
        scheme, _, value = header.partition(" ")
        if header == _CERTIFICATE:
            return self._by_certificate(certificate)
        if scheme == "Basic" and "basic" in self._policy.kinds:
            return self._by_password(value)
        if _SCHEMES.get(scheme.lower()) in self._policy.kinds:
            return self._by_token(scheme, value)
        if not header and self.user and self._context is not None and self._context.complete:
            return Verdict(granted=True)
        return self.refuse(scheme.lower(), "not offered") if scheme else self.refuse()

    def refuse(self, kind: str = "", who: str = "") -> Verdict:
        """Refuse a request; with a kind, as a login that failed."""
        if kind:
            self._journal.add("login-refused", kind=kind, who=who)
        self.user = ""
        offered = tuple(("WWW-Authenticate", _OFFERED[one]) for one in KINDS if one in _offers(self._policy))
        return Verdict(granted=False, headers=offered)

    def seal(self, message: bytes) -> tuple[bytes, str]:
        """Seal an answer; returns it with its content type."""
        assert self._context is not None
        sealed = self._context.wrap_winrm(message)
        length = len(message) + sealed.padding_length
        body = (
            _BOUNDARY
            + b"\r\n\tContent-Type: "
            + self._sealed_by
            + b"\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length="
            + str(length).encode()
            + b"\r\n"
            + _BOUNDARY
            + b"\r\n\tContent-Type: application/octet-stream\r\n"
            + struct.pack("<i", len(sealed.header))
            + sealed.header
            + sealed.data
            + _BOUNDARY
            + b"--\r\n"
        )
        return body, f'multipart/encrypted;protocol="{self._sealed_by.decode()}";boundary="Encrypted Boundary"'

    def unseal(self, body: bytes) -> bytes:
        """Open a sealed request; ValueError or spnego.SpnegoError where it was sealed for another connection."""
        parts = [part for part in body.split(_BOUNDARY + b"\r\n") if part]
        return b"".join(self._open(head, sealed) for head, sealed in zip(parts[::2], parts[1::2], strict=True))

    def _open(self, head: bytes, sealed: bytes) -> bytes:
        told = re.search(rb"Length=(\d+)", head)
        if self._context is None or told is None:
            raise ValueError("the message is sealed, and this connection has no key")
        data = re.sub(rb"^\s*Content-Type: application/octet-stream\r\n", b"", sealed, count=1)
        data = data.removesuffix(_BOUNDARY + b"--\r\n")
        if self._sealed_by.startswith(b"application/HTTP-CredSSP"):
            message = self._context.unwrap(data[4:]).data
        else:
            (header,) = struct.unpack("<i", data[:4])
            message = self._context.unwrap_winrm(data[4 : 4 + header], data[4 + header :])
        if len(message) != int(told.group(1)):
            raise ValueError(f"the message has {len(message)} bytes, not {told.group(1).decode()}")
        return message

    def _by_certificate(self, certificate: str) -> Verdict:
        user = self._policy.certificates.get(certificate, "") if "certificate" in self._policy.kinds else ""
        if not user:
            return self.refuse("certificate", certificate or "no certificate")
        return self._grant("certificate", user)

    def _by_password(self, value: str) -> Verdict:
        user, _, password = base64.b64decode(value).decode().partition(":")
        if user not in self._policy.accounts or self._policy.accounts[user] != password:
            return self.refuse("basic", user)
        return self._grant("basic", user)

    def _by_token(self, scheme: str, value: str) -> Verdict:
        try:
            answer = self._step(_SCHEMES[scheme.lower()], base64.b64decode(value))
        except Exception as refused:
            # Whatever a client's token makes the library raise is a login that failed.
            self._context = None
            return self.refuse(scheme.lower(), f"{type(refused).__name__}: {refused}"[:300])
        assert self._context is not None
        token = (("WWW-Authenticate", f"{scheme} {base64.b64encode(answer).decode()}"),) if answer else ()
        if not self._context.complete or (answer and scheme == "CredSSP"):
            return Verdict(granted=False, headers=token)
        principal = (self._context.client_principal or "").split("\\")[-1]
        user = next((name for name in (principal, principal.split("@")[0]) if name in self._policy.accounts), "")
        if not user:
            self._context = None
            return self.refuse(scheme.lower(), principal)
        kind = "credssp" if scheme == "CredSSP" else self._context.negotiated_protocol or scheme.lower()
        return self._grant(kind, user, token)

    def _step(self, protocol: str, token: bytes) -> bytes | None:
        if self._context is None or self._context.complete:
            options = spnego.NegotiateOptions.use_negotiate if protocol == "negotiate" else spnego.NegotiateOptions.none
            self._context = spnego.server(
                hostname=self._policy.machine,
                service="HTTP",
                protocol=protocol,
                options=options,
                channel_bindings=self._bindings,
            )
            kind = b"CredSSP" if protocol == "credssp" else b"SPNEGO"
            self._sealed_by = b"application/HTTP-" + kind + b"-session-encrypted"
        return self._context.step(token)

    def _grant(self, kind: str, user: str, headers: Headers = ()) -> Verdict:
        if self.user != user or kind not in ("basic", "certificate"):
            self._journal.add("login", kind=kind, user=user)
        self.user = user
        return Verdict(granted=True, headers=headers)


def write_ntlm_accounts(path: Path, machines: list[str], accounts: Mapping[str, str]) -> None:
    """Write the accounts as pyspnego's NTLM reads them, from the file that NTLM_USER_FILE names.

    A client may name no domain, the machine, or a domain: all are the same local account here.
    """
    rows = [f"{domain}:{user}:{word}" for domain in ("", "LAB", *machines) for user, word in accounts.items()]
    path.touch(mode=0o600)
    path.write_text("".join(f"{row}\n" for row in rows))


def _offers(policy: Policy) -> tuple[str, ...]:
    return tuple(kind for kind in policy.kinds if kind in _OFFERED)
