"""When a board's key was last seen to, and what became of it.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One table, one row a board."""
    op.create_table(
        "board_keys",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("address", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name=op.f("fk_board_keys_device")),
        sa.PrimaryKeyConstraint("device", "address", name=op.f("pk_board_keys")),
    )
