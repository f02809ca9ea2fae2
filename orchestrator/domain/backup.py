"""What a backup of the database says of itself, and what a restore must not let go back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.canonical import parse_rfc3339

FORMAT = "patch-orchestrator-backup/1"
MANIFEST = "manifest.json"

#: The counters, as the database calls them.
TOKEN, CHANGE = "token", "change"

#: Far more tokens and changes than are drawn between two backups: what was drawn since then is known to hosts alone.
_TOKENS_AHEAD = 1_000_000
_CHANGES_AHEAD = 1_000


class DatabaseKind(StrEnum):
    """The databases that there are, and what each is dumped as."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"

    @property
    def file(self) -> str:
        """Return the name of the dump within the backup."""
        return "database.sqlite" if self is DatabaseKind.SQLITE else "database.pgdump"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """How long a chain is and its last hash."""

    chain: str
    count: int
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMark:
    """Where a change stands: its version grows with each move."""

    change: str
    state: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a database holds, in a few words. ``schema`` is the number of its newest migration."""

    schema: str
    installation: str
    counters: Mapping[str, int]
    chains: tuple[ChainEnd, ...]
    changes: tuple[ChangeMark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself; ``sha256`` and ``size`` are those of the dump, ``version`` that of the program."""

    format: str
    kind: DatabaseKind
    made_at: datetime
    site: str
    version: str
    sha256: str
    size: int
    contents: Contents


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint as it was signed."""

    seq: int
    document: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A backup that was read as a restore would: ``problems`` say why it could not be trusted.

    ``sha256`` is that of the whole file, ``checkpoint`` the newest that it holds.
    """

    sha256: str
    manifest: Manifest
    checkpoint: SignedCheckpoint | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WentBack:
    """A change that is no longer where it was: ``now`` is None where the backup does not know it at all."""

    change: str
    was: ChangeMark
    now: ChangeMark | None


def read_manifest(raw: bytes) -> Manifest:
    """Return the manifest that was written as canonical JSON. Raises ValueError."""
    try:
        said = json.loads(raw)
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']!r}, and this program knows {FORMAT}")
        told = said["contents"]
        contents = Contents(
            schema=str(told["schema"]),
            installation=str(told["installation"]),
            counters={str(name): int(value) for name, value in told["counters"].items()},
            chains=tuple(ChainEnd(**row) for row in told["chains"]),
            changes=tuple(ChangeMark(**row) for row in told["changes"]),
        )
        known = {field.name: said[field.name] for field in fields(Manifest)}
        return Manifest(
            **known
            | {"kind": DatabaseKind(said["kind"]), "made_at": parse_rfc3339(said["made_at"]), "contents": contents}
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its manifest is not as this program writes it: {error!r}") from error


def differences(said: Contents, found: Contents) -> tuple[str, ...]:
    """Return in words what a database holds otherwise than its manifest says."""
    told = []
    for name in ("schema", "installation"):
        if (one := getattr(said, name)) != (other := getattr(found, name)):
            told.append(f"{name} is {other!r}, the manifest says {one!r}")
    if dict(said.counters) != dict(found.counters):
        told.append(f"counters are {dict(found.counters)}, the manifest says {dict(said.counters)}")
    ours, theirs = {each.chain: each for each in said.chains}, {each.chain: each for each in found.chains}
    told += [
        f"the head of chain {name} is not the one in the manifest"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if set(said.changes) != set(found.changes):
        told.append("its changes do not stand where the manifest says")
    return tuple(told)


def went_back(before: Iterable[ChangeMark], after: Sequence[ChangeMark]) -> tuple[WentBack, ...]:
    """Return the changes that stand earlier than before, or are gone."""
    known = {mark.change: mark for mark in after}
    back = []
    for mark in before:
        now = known.get(mark.change)
        if now is None or now.version < mark.version:
            back.append(WentBack(change=mark.change, was=mark, now=now))
    return tuple(back)


def counters_after(seen: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return where the counters go on after a restore: above whatever may have been drawn before it.

    ``seen`` is what the backup, the present database and the state folder know. A host refuses a token that is older
    than one it has seen; a change id that was used before would find the jobs of the other change.
    """
    highest: dict[str, int] = {TOKEN: 0, CHANGE: 0}
    for counters in seen:
        for name, value in counters.items():
            highest[name] = max(highest.get(name, 0), value)
    return highest | {
        TOKEN: highest[TOKEN] + _TOKENS_AHEAD,
        CHANGE: (highest[CHANGE] // _CHANGES_AHEAD + 1) * _CHANGES_AHEAD,
    }
