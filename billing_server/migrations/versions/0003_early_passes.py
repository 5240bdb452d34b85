"""Passes that are counted early, while their journal is still on its way.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One table, of counts to be."""
    op.create_table(
        "early_passes",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("pass_id", sa.String(length=26), nullable=False),
        sa.Column("generation", sa.String(length=16), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name=op.f("fk_early_passes_device")),
        sa.PrimaryKeyConstraint("device", "pass_id", name=op.f("pk_early_passes")),
    )
