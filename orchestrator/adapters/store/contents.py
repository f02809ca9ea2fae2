"""What a database holds, read in one transaction, for a backup and for a restore."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from orchestrator.adapters.store import tables as t
from orchestrator.domain.backup import ChainEnd, ChangeMark, Contents, SignedCheckpoint


def read_contents(connection: sa.Connection) -> Contents:
    """Read it through an open connection."""
    settings = connection.execute(sa.select(t.setting.c.value).where(t.setting.c.name == "installation"))
    chains = connection.execute(sa.select(t.chain).order_by(t.chain.c.chain))
    changes = connection.execute(sa.select(t.change.c.id, t.change.c.state, t.change.c.version).order_by(t.change.c.id))
    counters = connection.execute(sa.select(t.counter).order_by(t.counter.c.name))
    return Contents(
        schema=str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()),
        installation=str(settings.scalar() or ""),
        counters={row.name: row.value for row in counters},
        chains=tuple(ChainEnd(chain=row.chain, count=row.length, head=row.head) for row in chains),
        changes=tuple(ChangeMark(change=row.id, state=row.state, version=row.version) for row in changes),
    )


def newest_checkpoint(connection: sa.Connection) -> SignedCheckpoint | None:
    """Return the newest checkpoint, if there is one."""
    row = connection.execute(sa.select(t.checkpoint).order_by(t.checkpoint.c.seq.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    return SignedCheckpoint(seq=row.seq, document=bytes(row.document), signature=bytes(row.signature))


def set_counters(connection: sa.Connection, counters: Mapping[str, int]) -> None:
    """Set the counters."""
    for name, value in counters.items():
        connection.execute(sa.delete(t.counter).where(t.counter.c.name == name))
        connection.execute(sa.insert(t.counter).values(name=name, value=value))


def add_checkpoint(connection: sa.Connection, checkpoint: SignedCheckpoint) -> None:
    """Enter a checkpoint that this database never made."""
    row = {"seq": checkpoint.seq, "document": checkpoint.document, "signature": checkpoint.signature}
    connection.execute(sa.insert(t.checkpoint).values(row))
