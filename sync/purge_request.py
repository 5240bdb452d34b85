"""What the server asks of a purge, under its own signature, which the receipt quotes.

A receipt so says by itself who asked for the erasure, when and why, and neither side can deny its part. A server that
was put back from an older backup knows its own word again, and asks anew what it had forgotten.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sync.encoding import instant_text
from sync.errors import BadSignature
from sync.facts import PurgeReceipt
from sync.messages import PROTOCOL_VERSION
from sync.orders import ASKED_BY_LONGEST, PurgeOrder
from sync.signing import Purpose, SigningKey, VerifyingKey


def signed_request(order: PurgeOrder, server: SigningKey) -> PurgeOrder:
    """`order`, which says when it was asked, with the server's signature on what it asks."""
    return replace(order, request_signature=server.sign(Purpose.PURGE_REQUEST, _statement(order)))


def receipt_of(
    order: PurgeOrder, erased_at: datetime, record_digest: str | None, epoch_before: int, epoch_after: int
) -> PurgeReceipt:
    """The receipt that answers `order`, its request quoted; the rest is what the store says of the erasure."""
    return PurgeReceipt(
        purge=order.purge,
        pupil=order.pupil,
        scope=order.scope,
        record_digest=record_digest,
        erased_at=erased_at,
        epoch_before=epoch_before,
        epoch_after=epoch_after,
        cause=order.cause,
        asked_by=order.asked_by,
        asked_at=order.asked_at,
        request_signature=order.request_signature,
    )


def verify_request(receipt: PurgeReceipt, server: VerifyingKey) -> None:
    """Raises BadSignature unless `server` asked for exactly what `receipt` is about."""
    if receipt.request_signature is None or receipt.asked_at is None:
        raise BadSignature("the receipt quotes no request")
    server.verify(Purpose.PURGE_REQUEST, _statement(receipt), receipt.request_signature)


def _statement(asked: PurgeOrder | PurgeReceipt) -> dict[str, Any]:
    return {
        "v": PROTOCOL_VERSION,
        "purge": asked.purge,
        "pupil": asked.pupil,
        "scope": asked.scope.value,
        "cause": None if asked.cause is None else asked.cause.value,
        "asked_at": None if asked.asked_at is None else instant_text(asked.asked_at),
        "asked_by": None if asked.asked_by is None else asked.asked_by[:ASKED_BY_LONGEST],
    }
