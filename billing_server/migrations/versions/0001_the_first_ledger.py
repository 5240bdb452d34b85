"""The first ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("device", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
    )
    op.create_index(op.f("ix_alarms_kind_about"), "alarms", ["kind", "about"], unique=False)

    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)

    op.create_table(
        "consents",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.String(length=16), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("pupil", sa.String(length=18), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("notice_version", sa.Text(), nullable=False),
        sa.Column("given_by", sa.String(length=40), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
    )
    op.create_index(op.f("ix_consents_pupil"), "consents", ["pupil"], unique=False)

    op.create_table(
        "denials",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.String(length=16), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("pass_id", sa.String(length=26), nullable=False),
        sa.Column("pupil", sa.String(length=18), nullable=True),
        sa.Column("method", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("denied_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("clock_trust", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_denials")),
        sa.UniqueConstraint("device", "generation", "sequence", name=op.f("uq_denials_device_generation_sequence")),
    )
    op.create_index(op.f("ix_denials_day_position"), "denials", ["day", "position"], unique=False)

    op.create_table(
        "devices",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("verifying_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealing_key", sa.LargeBinary(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_order", sa.BigInteger(), nullable=False),
        sa.Column("lease_issued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_contact", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_devices")),
    )
    op.create_table(
        "feed_positions",
        sa.Column("feed", sa.String(length=40), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed", name=op.f("pk_feed_positions")),
    )
    op.create_table(
        "forked_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.String(length=16), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forked_entries")),
        sa.UniqueConstraint(
            "device",
            "generation",
            "sequence",
            "digest",
            name=op.f("uq_forked_entries_device_generation_sequence_digest"),
        ),
    )
    op.create_table(
        "passes",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("pass_id", sa.String(length=26), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.String(length=16), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("pupil", sa.String(length=18), nullable=False),
        sa.Column("method", sa.String(length=40), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("charged_to", sa.String(length=40), nullable=True),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("clock_trust", sa.String(length=40), nullable=False),
        sa.Column("forced_because", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("outcome_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome_position", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("device", "pass_id", name=op.f("pk_passes")),
        sa.UniqueConstraint("outcome_position", name=op.f("uq_passes_outcome_position")),
        sa.UniqueConstraint("position", name=op.f("uq_passes_position")),
    )
    op.create_index(op.f("ix_passes_day_position"), "passes", ["day", "position"], unique=False)
    op.create_index(op.f("ix_passes_pupil_day"), "passes", ["pupil", "day"], unique=False)

    op.create_table(
        "pupils",
        sa.Column("pupil", sa.String(length=18), nullable=False),
        sa.Column("identity_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("code_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("code_lookup", sa.String(length=64), nullable=True),
        sa.Column("entitlements", sa.Text(), nullable=False),
        sa.Column("consent_state", sa.String(length=40), nullable=False),
        sa.Column("consent_given_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("departed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("pupil", name=op.f("pk_pupils")),
        sa.UniqueConstraint("code_lookup", name=op.f("uq_pupils_code_lookup")),
    )
    op.create_table(
        "purges",
        sa.Column("purge", sa.String(length=18), nullable=False),
        sa.Column("pupil", sa.String(length=18), nullable=False),
        sa.Column("scope", sa.String(length=40), nullable=False),
        sa.Column("cause", sa.String(length=40), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("purge", name=op.f("pk_purges")),
    )
    op.create_index(op.f("ix_purges_pupil"), "purges", ["pupil"], unique=False)

    op.create_table(
        "refusals",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("why", sa.String(length=40), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("device", "why", name=op.f("pk_refusals")),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )
    op.create_table(
        "cards",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("pupil", sa.String(length=18), nullable=False),
        sa.Column("number_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("number_lookup", sa.String(length=64), nullable=True),
        sa.Column("issued_by", sa.String(length=32), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["pupil"], ["pupils.pupil"], name=op.f("fk_cards_pupil")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cards")),
    )
    op.create_index(op.f("ix_cards_number_lookup"), "cards", ["number_lookup"], unique=False)
    op.create_index(op.f("ix_cards_pupil"), "cards", ["pupil"], unique=False)

    op.create_table(
        "holdings",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("pupil", sa.String(length=18), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name=op.f("fk_holdings_device")),
        sa.PrimaryKeyConstraint("device", "pupil", name=op.f("pk_holdings")),
    )
    op.create_table(
        "journals",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.String(length=16), nullable=False),
        sa.Column("up_to", sa.BigInteger(), nullable=False),
        sa.Column("last_digest", sa.String(length=64), nullable=False),
        sa.Column("first_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name=op.f("fk_journals_device")),
        sa.PrimaryKeyConstraint("device", "generation", name=op.f("pk_journals")),
    )
    op.create_table(
        "orders",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("pupil", sa.String(length=18), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=True),
        sa.Column("purge", sa.String(length=18), nullable=True),
        sa.Column("wire", sa.LargeBinary(), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_why", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name=op.f("fk_orders_device")),
        sa.PrimaryKeyConstraint("device", "number", name=op.f("pk_orders")),
    )
    op.create_index(op.f("ix_orders_pupil"), "orders", ["pupil"], unique=False)

    op.create_table(
        "purge_holders",
        sa.Column("purge", sa.String(length=18), nullable=False),
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("order_number", sa.BigInteger(), nullable=False),
        sa.Column("held_reference", sa.Boolean(), nullable=False),
        sa.Column("receipt_generation", sa.String(length=16), nullable=True),
        sa.Column("receipt_sequence", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("record_digest", sa.Text(), nullable=True),
        sa.Column("epoch_before", sa.BigInteger(), nullable=True),
        sa.Column("epoch_after", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name=op.f("fk_purge_holders_device")),
        sa.ForeignKeyConstraint(["purge"], ["purges.purge"], name=op.f("fk_purge_holders_purge")),
        sa.PrimaryKeyConstraint("purge", "device", name=op.f("pk_purge_holders")),
    )
    op.create_table(
        "entries",
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.String(length=16), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("clock_trust", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["device", "generation"],
            ["journals.device", "journals.generation"],
            name=op.f("fk_entries_device_generation"),
        ),
        sa.PrimaryKeyConstraint("device", "generation", "sequence", name=op.f("pk_entries")),
    )

    table = sa.table("feed_positions", sa.column("feed", sa.String), sa.column("last", sa.BigInteger))
    op.bulk_insert(table, [{"feed": feed, "last": 0} for feed in ("denials", "outcomes", "passes")])


def downgrade() -> None:
    """A ledger is not taken back: restore a backup instead."""
    raise NotImplementedError
