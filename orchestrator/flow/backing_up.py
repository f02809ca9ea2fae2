"""Go back to a backup of the database without handing out again what hosts and auditors have seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.domain.backup import (
    TOKEN,
    Checked,
    Contents,
    SignedCheckpoint,
    WentBack,
    counters_after,
    went_back,
)
from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.identity import Actor
from orchestrator.errors import EvidenceRefused, Refused, Unavailable
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import Backups


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a restore would do. ``present`` is None where the database is empty, ``damage`` says why it is unreadable.

    ``back`` are the changes that would stand earlier than they do now, or be gone; ``since`` those on which work was
    done after the backup was made, as far as the state folder tells.
    """

    checked: Checked
    present: Contents | None
    damage: str
    back: tuple[WentBack, ...]
    since: tuple[str, ...]
    counters: Mapping[str, int]
    checkpoint: SignedCheckpoint | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What is known besides the database: the counters that the state folder shows, the last work on each change, and
    the newest checkpoint that was sent outside.
    """

    counters: Mapping[str, int]
    worked: Mapping[str, datetime]
    checkpoint: SignedCheckpoint | None


def look(file: Path, backups: Backups, traces: Traces) -> Outlook:
    """Check a backup and compare it with what is there. Raises EvidenceRefused where it must not be restored."""
    checked = backups.check(file)
    if checked.problems:
        raise EvidenceRefused(f"{file} must not be restored: {'; '.join(checked.problems)}")
    contents, damage = checked.manifest.contents, ""
    present, newest = None, None
    try:
        present, newest = backups.present(), backups.newest_checkpoint()
    except Unavailable as error:
        damage = str(error)
    seen = [contents.counters, traces.counters, present.counters if present else {}]
    return Outlook(
        checked=checked,
        present=present,
        damage=damage,
        back=went_back(present.changes if present else (), contents.changes),
        since=tuple(sorted(change for change, at in traces.worked.items() if at > checked.manifest.made_at)),
        counters=counters_after(seen),
        checkpoint=_newer(checked.checkpoint, newest, traces.checkpoint),
    )


def require_room(outlook: Outlook, *, over: bool, at_work: Sequence[str]) -> None:
    """Raise Refused over a database that holds something, unless ``over`` is given, and while something is at work."""
    if at_work:
        raise Refused(f"{', '.join(at_work)} is at work and would go on from another record. Stop it, or wait.")
    there = outlook.damage
    if outlook.present is not None:
        there = f"there is a database with {len(outlook.present.changes)} changes"
    if there and not over:
        raise Refused(f"nothing was restored: {there}. To put the backup in its place: --over")


def restore(
    file: Path, outlook: Outlook, actor: Actor, backups: Backups, *, at: datetime, reopen: Callable[[], Ledger]
) -> str:
    """Put the backup in the database's place, and enter that it was; return where the old database is kept."""
    aside = f"before-restore-{at:%Y%m%dT%H%M%SZ}"
    kept = backups.restore(file, counters=outlook.counters, checkpoint=outlook.checkpoint, aside=aside)
    _enter(outlook, actor, reopen())
    return kept


def _enter(outlook: Outlook, actor: Actor, ledger: Ledger) -> None:
    """Say on the site's chain that the record went back, and on the chain of each change what it lost."""
    manifest = outlook.checked.manifest
    back: list[Plain] = [plain(each) for each in outlook.back]
    data: dict[str, Plain] = {
        "backup": outlook.checked.sha256,
        "made_at": plain(manifest.made_at),
        "version": manifest.version,
        "token": outlook.counters[TOKEN],
        "back": back,
        "worked_since": list(outlook.since),
    }
    ledger.note("", "database-restored", actor=actor, data=data)
    lost = {end.chain: end for end in (outlook.present.chains if outlook.present else ())}
    for each in outlook.back:
        if each.now is not None:
            end = lost.get(each.change)
            said: dict[str, Plain] = {"was": plain(each.was), "now": plain(each.now), "trail": plain(end)}
            ledger.note(each.change, "record-went-back", actor=actor, data=said)


def _newer(
    ours: SignedCheckpoint | None, live: SignedCheckpoint | None, outside: SignedCheckpoint | None
) -> SignedCheckpoint | None:
    """Return the newest checkpoint that the backup does not hold: the next one has to follow it, not repeat it."""
    known = ours.seq if ours else 0
    return max((each for each in (live, outside) if each and each.seq > known), key=lambda each: each.seq, default=None)
