"""What devices find of themselves before a service.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One table, one row a device."""
    op.create_table(
        "device_checkups",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("at_risk", sa.Text(), nullable=False),
        sa.Column("watch", sa.Text(), nullable=False),
        sa.Column("firmware", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name=op.f("fk_device_checkups_device")),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_device_checkups")),
    )
