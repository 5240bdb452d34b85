"""What only the program with the key can say for the protocol, put on record when it is needed, and else not.

Called by terminal and station in their own loops, while no pass is open.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from canteen.clock import ClockTrust
from sync.facts import FactKind, OrdersHeld
from sync.order_box import OrderBox
from sync.pass_journal import PassJournal

_log = logging.getLogger("canteen.sync.standing")

_SAID_FOR = timedelta(hours=12)
"""So long the same answer stands: whoever can make the server ask again and again adds two entries a day. The server
itself asks once after a day's services, for the day's certificate."""

_ABOUT_ORDERS = (FactKind.ORDERS_HELD, FactKind.ORDER_APPLIED, FactKind.ORDER_REFUSED)


def put_on_record(journal: PassJournal, box: OrderBox, now: datetime, clock_trust: ClockTrust) -> None:
    """Begin a new journal where the ledger contradicts this one; answer the server that asks which orders are held.

    Raises:
        JournalUnavailable, OrderBoxUnavailable: try again later.
    """
    held = box.done_up_to
    begun = journal.begin_anew_if_contradicted(now, clock_trust, held)
    if begun is not None:
        _log.warning(
            "the ledger has another entry %d in this journal's name: an older copy was put back here. "
            "A new journal begins, and %d entries are told again",
            begun.sequence,
            begun.told_again,
        )
    if not box.is_asked:
        return
    last = journal.latest_of(_ABOUT_ORDERS)
    said = last is not None and last.kind == FactKind.ORDERS_HELD and last.body.get("up_to") == held
    if last is None or not said or abs(now - last.recorded_at) >= _SAID_FOR:
        journal.append(OrdersHeld(held), now, clock_trust)
    box.note_answered()
