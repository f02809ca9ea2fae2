"""What is expected of each host, a row each: a shard asks for its own hosts, not for all of the plan."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PLAN = sa.table("plan", sa.column("digest", sa.String), sa.column("predictions", sa.Text))
_PREDICTION = sa.table(
    "prediction", sa.column("plan", sa.String), sa.column("host", sa.String), sa.column("document", sa.Text)
)


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "prediction",
        sa.Column("plan", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("plan", "host", name=op.f("pk_prediction")),
    )
    connection = op.get_bind()
    for digest, predictions in connection.execute(sa.select(_PLAN.c.digest, _PLAN.c.predictions)).all():
        if rows := [{"plan": digest, "host": one["host"], "document": _text(one)} for one in json.loads(predictions)]:
            connection.execute(sa.insert(_PREDICTION), rows)
    with op.batch_alter_table("plan") as table:
        table.drop_column("predictions")


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("plan") as table:
        table.add_column(sa.Column("predictions", sa.Text(), nullable=False, server_default="[]"))
    connection = op.get_bind()
    found: dict[str, list[object]] = {}
    for digest, document in connection.execute(
        sa.select(_PREDICTION.c.plan, _PREDICTION.c.document).order_by(_PREDICTION.c.host)
    ):
        found.setdefault(digest, []).append(json.loads(document))
    for digest, predictions in found.items():
        connection.execute(sa.update(_PLAN).where(_PLAN.c.digest == digest).values(predictions=_text(predictions)))
    op.drop_table("prediction")


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
