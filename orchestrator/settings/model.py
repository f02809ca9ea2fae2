"""What a site can set, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.inventory import Secret
from orchestrator.domain.limits import Limits
from orchestrator.domain.retention import RetentionPolicy
from orchestrator.domain.rollback import RollbackClass
from orchestrator.errors import NotFound
from orchestrator.logs import LogSettings
from orchestrator.settings.references import Reference, ReferenceKind, resolve


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
    sent by OTLP over HTTP, "" for nowhere.
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
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    log: LogSettings = field(default_factory=LogSettings)
    traces: str = ""

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
