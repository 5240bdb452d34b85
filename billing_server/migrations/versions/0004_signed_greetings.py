"""Whose journal a hello spoke of; certificates by their key.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns alone; what was written before them stays as it is."""
    op.add_column("devices", sa.Column("said_generation", sa.String(length=16), nullable=True))
    op.add_column("issued_certificates", sa.Column("key_digest", sa.String(length=64), nullable=True))
    op.add_column("issued_certificates", sa.Column("pem", sa.Text(), nullable=True))


def downgrade() -> None:
    """And back."""
    op.drop_column("issued_certificates", "pem")
    op.drop_column("issued_certificates", "key_digest")
    op.drop_column("devices", "said_generation")
