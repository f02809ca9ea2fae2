"""A managed host as the inventory describes it. It is read anew each time and never stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from orchestrator.domain.rollback import Statefulness

#: No host comes back from a reboot as soon as this.
SHORTEST_SILENCE = timedelta(seconds=10)


class Environment(StrEnum):
    """Which of the two inventories."""

    STAGING = "staging"
    PRODUCTION = "production"


class Secret:
    """A text that is never shown: not by repr, not in a log, not in canonical JSON (which refuses this type)."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)


class KeptSecret(Secret):
    """A secret that is looked up where it is kept each time that it is needed. Revealing it may raise Unavailable."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[], str]) -> None:
        super().__init__("")
        self._find = find

    def reveal(self) -> str:
        """Look the text up."""
        return self._find()

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRm:
    """How Ansible speaks WinRM with a host, over ``winrm`` or ``psrp``.

    ``authentication`` is tried in this order (negotiate, ntlm, kerberos, credssp, certificate, basic); ``trust`` (""
    = the usual authorities), ``certificate`` and ``certificate_key`` are paths on the controller; ``encryption`` is
    of messages (auto, always, never). Of Kerberos: ``principal_host`` is the host's name there ("" = its address),
    ``has_ticket`` tells that somebody else gets the ticket. ``is_bound``: logins are bound to their TLS channel.
    """

    scheme: str = "https"
    path: str = "/wsman"
    authentication: tuple[str, ...] = ("negotiate",)
    is_validated: bool = True
    trust: str = ""
    certificate: str = ""
    certificate_key: str = ""
    encryption: str = "auto"
    proxy: str = ""
    principal_host: str = ""
    service: str = "HTTP"
    delegates: bool = False
    is_bound: bool = True
    has_ticket: bool = False

    @property
    def is_encrypted(self) -> bool:
        """Tell whether it goes over TLS."""
        return self.scheme == "https"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How Ansible reaches a host: what a direct probe needs to go the same way.

    ``known_hosts`` and ``key_file`` are paths on the controller, "" for the defaults; ``winrm`` is there where
    ``kind`` is ``winrm`` or ``psrp``.
    """

    kind: str = "ssh"
    address: str
    port: int = 22
    user: str = ""
    key_file: str = ""
    known_hosts: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    become: bool = False
    become_method: str = "sudo"
    become_password: Secret = field(default_factory=lambda: Secret(""))
    winrm: WinRm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host. ``fingerprint`` is the HMAC, under the site key, of all its variables.

    Read from the host variables ``patch_family`` (apt, dnf, zypper, windows; "" = detect), ``patch_zone``,
    ``patch_cluster``, ``patch_drain`` (the role that takes it out of service and back), ``patch_state``,
    ``patch_rollback`` (provider names; () = packages), ``patch_ansible`` (the Ansible installation that works on it;
    "" = the controller's own), ``patch_throttle_group`` (names of limits) and ``patch_lost_after`` (how long it may be
    silent before it counts as lost; None = as the site says).
    """

    name: str
    groups: tuple[str, ...] = ()
    connection: Connection
    family: str = ""
    zone: str = ""
    cluster: str = ""
    statefulness: Statefulness = Statefulness.STATEFUL
    providers: tuple[str, ...] = ()
    ansible: str = ""
    throttle: tuple[str, ...] = ()
    drain: str = ""
    lost_after: timedelta | None = None
    fingerprint: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
