"""What a site can set, as one frozen value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from orchestrator.domain.inventory import Secret
from orchestrator.domain.limits import Limits
from orchestrator.domain.retention import RetentionPolicy
from orchestrator.domain.rollback import RollbackClass
from orchestrator.errors import NotFound
from orchestrator.logs import LogSettings
from orchestrator.settings.references import Reference, ReferenceKind, resolve

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Where the database is; the password, if it needs one, comes by reference."""

    url: str
    password: Reference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandProvider:
    """A rollback provider made of command lines, ``[rollback.NAME]``; its words are the adapter's to fill in.

    ``exists`` is empty where the tool cannot tell whether a snapshot is there; ``timeout`` is in seconds.
    """

    name: str
    take: tuple[str, ...]
    restore: tuple[str, ...]
    release: tuple[str, ...]
    exists: tuple[str, ...] = ()
    rollback_class: RollbackClass = RollbackClass.EXACT
    timeout: int = 600
    parallel: int = 4


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: a name or an IPv4 address, and a port; 0 is any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"http://{self.host}:{self.port}"

    @classmethod
    def of(cls, text: str) -> Address | None:
        """Return what ``PORT`` or ``ADDRESS:PORT`` means, None where it means nothing."""
        match = re.fullmatch(r"(?:([A-Za-z0-9.-]+):)?([0-9]{1,5})", text)
        if match is None or int(match[2]) > 65535:
            return None
        return cls(match[1] or LOOPBACK, int(match[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifierSettings:
    """Somebody to be told, ``[notify.NAME]``: by which plugin, of which events (patterns), and in which words."""

    name: str
    kind: str
    events: tuple[str, ...] = ("*",)
    options: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Reference] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a site sets. Paths are absolute; ``state`` lies outside the site's repository.

    ``installations`` are the virtual environments with an Ansible of their own, by name. ``traces`` is where spans are
    sent by OTLP over HTTP, "" for nowhere. ``lost_after`` is how long a host may be silent before it counts as lost,
    None where each change says that itself. ``listen`` is where ``serve`` answers, None for nowhere.
    """

    site: Path
    name: str
    state: Path
    database: Database
    forks: int = 20
    installations: Mapping[str, Path] = field(default_factory=dict)
    vault_password: Reference | None = None
    secrets: Mapping[str, Reference] = field(default_factory=dict)
    rollback: Mapping[str, CommandProvider] = field(default_factory=dict)
    notify: Mapping[str, NotifierSettings] = field(default_factory=dict)
    checkpoint_file: Path | None = None
    signing_key: Path
    limits: Limits = field(default_factory=Limits)
    lost_after: timedelta | None = None
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    log: LogSettings = field(default_factory=LogSettings)
    traces: str = ""
    listen: Address | None = None

    def questions(self) -> tuple[str, ...]:
        """Return what a person is asked for, each once: secrets that are kept nowhere."""
        references = [self.vault_password, self.database.password, *self.secrets.values()]
        asked = [one.target[0] for one in references if one is not None and one.kind is ReferenceKind.PROMPT]
        return tuple(dict.fromkeys(asked))

    def secret(self, name: str) -> Secret:
        """Return the secret that ``[secrets]`` calls so. Raises NotFound, or Unavailable where it cannot be had."""
        if name not in self.secrets:
            there = ", ".join(sorted(self.secrets)) or "none"
            raise NotFound(f"there is no secret {name!r} under [secrets] in orchestrator.toml; there are: {there}.")
        return resolve(self.secrets[name])
