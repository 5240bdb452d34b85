"""Two indexes of passes fewer to keep while a backlog comes in: a pupil is looked for within a day.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Days by pupil in place of days by position and pupils by day; prepaid passes, which are few, by pupil alone."""
    op.drop_index(op.f("ix_passes_day_position"), table_name="passes")
    op.drop_index(op.f("ix_passes_pupil_day"), table_name="passes")
    op.create_index(op.f("ix_passes_day_pupil"), "passes", ["day", "pupil"], unique=False)
    prepaid = sa.text("charged_to = 'external-meal'")
    op.create_index(
        "ix_passes_prepaid_pupil", "passes", ["pupil"], unique=False, postgresql_where=prepaid, sqlite_where=prepaid
    )
