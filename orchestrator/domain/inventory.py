"""A managed host as the inventory describes it. It is read anew each time and never stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.rollback import Statefulness


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How Ansible reaches a host over SSH: what a direct probe needs to go the same way.

    ``known_hosts`` and ``key_file`` are paths on the controller, "" for the defaults.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host. ``fingerprint`` is the HMAC, under the site key, of all its variables.

    Read from the host variables ``patch_family`` (apt, dnf, zypper; "" = detect), ``patch_zone``, ``patch_cluster``,
    ``patch_drain`` (the role that takes it out of service and back), ``patch_state``, ``patch_rollback`` (provider
    names; () = packages), ``patch_ansible`` (the Ansible installation that works on it; "" = the controller's own) and
    ``patch_throttle_group`` (names of limits).
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
    fingerprint: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
