"""Whether anything about a host has to be considered between two batches, so that the others need not be read."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_RUN = sa.table(
    "host_run",
    sa.column("change", sa.String),
    sa.column("host", sa.String),
    sa.column("status", sa.String),
    sa.column("ordinary", sa.Boolean),
    sa.column("document", sa.Text),
)


def upgrade() -> None:
    """Go to this version."""
    with op.batch_alter_table("host_run") as table:
        table.add_column(sa.Column("ordinary", sa.Boolean(), nullable=False, server_default=sa.false()))
    connection = op.get_bind()
    waiting_or_done = sa.select(_RUN.c.change, _RUN.c.host, _RUN.c.document).where(
        _RUN.c.status.in_(["pending", "done"])
    )
    for change, host, document in connection.execute(waiting_or_done).all():
        run = json.loads(document)
        begun = run["status"] == "pending" and run["touched"]
        if not (begun or run["failed"] or run["unfit"] or run.get("drained")):
            mine = (_RUN.c.change == change) & (_RUN.c.host == host)
            connection.execute(sa.update(_RUN).where(mine).values(ordinary=True))
    with op.batch_alter_table("host_run") as table:
        table.alter_column("ordinary", server_default=None)
    op.create_index("ix_host_run_ordinary", "host_run", ["change", "ordinary"])


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_host_run_ordinary", "host_run")
    with op.batch_alter_table("host_run") as table:
        table.drop_column("ordinary")
