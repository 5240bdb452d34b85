"""Positions in the feeds that clients read on from: given once, whatever becomes of the server."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from billing_server.models import FeedPosition

LEAP = 10**9
"""More than any school gives out between a backup and its return; and there is room for nine million of them."""


def leap(session: Session) -> None:
    """This ledger is older than what clients have read: go on where they cannot have been.

    What the devices tell once more then has positions that no client has passed: it comes again under the same device
    and pass, and nothing is skipped.
    """
    session.execute(
        update(FeedPosition)
        .values(last=(FeedPosition.last // LEAP + 1) * LEAP)
        .execution_options(synchronize_session=False)
    )
