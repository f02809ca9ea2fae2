"""The tables. What is searched for is a column; the rest of a value is its canonical JSON."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

setting = sa.Table(
    "setting",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

counter = sa.Table(
    "counter",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

change = sa.Table(
    "change",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("state", sa.String(32), nullable=False, index=True),
    sa.Column("source_key", sa.String(128), nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("requester", sa.String(128), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)

chain = sa.Table(
    "chain",
    metadata,
    sa.Column("chain", sa.String(64), primary_key=True),
    sa.Column("length", sa.Integer, nullable=False),
    sa.Column("head", sa.String(64), nullable=False),
)

audit_event = sa.Table(
    "audit_event",
    metadata,
    sa.Column("chain", sa.String(64), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("at", sa.String(40), nullable=False, index=True),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("tag", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("chain", sa.String(64), nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
)

plan = sa.Table(
    "plan",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("change", sa.String(64), nullable=False, index=True),
    sa.Column("document", sa.Text, nullable=False),
)

prediction = sa.Table(
    "prediction",
    metadata,
    sa.Column("plan", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(253), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

host_run = sa.Table(
    "host_run",
    metadata,
    sa.Column("change", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(253), primary_key=True),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("status", sa.String(32), nullable=False, index=True),
    sa.Column("ordinary", sa.Boolean, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("ix_host_run_ordinary", "change", "ordinary"),
)

host_step = sa.Table(
    "host_step",
    metadata,
    sa.Column("change", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(253), primary_key=True),
    sa.Column("job", sa.String(128), primary_key=True),
    sa.Column("started_at", sa.String(40), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)

rollback_point = sa.Table(
    "rollback_point",
    metadata,
    sa.Column("change", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(253), primary_key=True),
    sa.Column("provider", sa.String(64), primary_key=True),
    sa.Column("held", sa.Boolean, nullable=False, index=True),
    sa.Column("document", sa.Text, nullable=False),
)

document = sa.Table(
    "document",
    metadata,
    sa.Column("change", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(253), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

duration = sa.Table(
    "duration",
    metadata,
    sa.Column("change", sa.String(64), primary_key=True),
    sa.Column("host", sa.String(253), primary_key=True),
    sa.Column("environment", sa.String(16), primary_key=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("ix_duration_host", "host", "environment"),
)

task = sa.Table(
    "task",
    metadata,
    sa.Column("job", sa.String(128), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("change", sa.String(64), nullable=False),
    sa.Column("host", sa.String(253), nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("milliseconds", sa.Integer, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Index("ix_task_host", "change", "host"),
    sa.Index("ix_task_outcome", "change", "outcome"),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("host", sa.String(253), primary_key=True),
    sa.Column("change", sa.String(64), nullable=False, index=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.String(40), nullable=False),
)

checkpoint = sa.Table(
    "checkpoint",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)

worker = sa.Table(
    "worker",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("node", sa.String(128), nullable=False),
    sa.Column("zones", sa.Text, nullable=False),
    sa.Column("started_at", sa.String(40), nullable=False),
    sa.Column("beat", sa.Float, nullable=False),
)
