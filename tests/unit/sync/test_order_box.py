"""The order box: in number order, erased once done, and honest about the line and the server's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.identifiers import DeviceId
from sync.errors import OrderBoxUnavailable
from sync.messages import SignedOrder, sign_order
from sync.order_box import OrderBox
from sync.orders import LeaseOrder
from sync.sealing import OpeningKey
from sync.signing import SigningKey

TERMINAL = DeviceId("terminal-1")
NOW = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
SERVER, OPENING = SigningKey(b"s" * 32), OpeningKey(b"o" * 32)


def order(number: int) -> SignedOrder:
    return sign_order(LeaseOrder(NOW), TERMINAL, number, NOW, OPENING.sealing_key, SERVER)


def test_one_after_the_other_whatever_the_arrival(tmp_path: Path) -> None:
    """An order waits for those before it; what is done does not come back, nor stay in the file."""
    box = OrderBox(tmp_path / "orders")
    second, first = order(2), order(1)
    box.put([second])
    assert (None, 0) == (box.next_waiting(), box.received_up_to)
    box.put([first, second])
    assert (first, 2) == (box.next_waiting(), box.received_up_to)
    box.mark_done(1)
    assert second == box.next_waiting()
    box.mark_done(2)
    box.put([first, second])
    assert (None, 2) == (box.next_waiting(), box.done_up_to)
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert first.sealed[:32] not in files
    assert second.sealed[:32] not in files


def test_since_when_the_line_is_as_it_is(tmp_path: Path) -> None:
    """Said again, the same state keeps its beginning."""
    box = OrderBox(tmp_path / "orders")
    for minutes, connected in [(0, False), (1, True), (2, True), (3, False), (4, False)]:
        box.note_link(connected, NOW + timedelta(minutes=minutes))
    assert (False, NOW + timedelta(minutes=3)) == (box.link.connected, box.link.since)


def test_the_newest_order_puts_a_wrong_server_clock_right(tmp_path: Path) -> None:
    """A year ahead once: the next order counts as it is; an acknowledgement only moves the date forward."""
    box = OrderBox(tmp_path / "orders")
    box.note_contact(NOW, NOW + timedelta(days=365), newest_order=True)
    box.note_contact(NOW, NOW)
    assert NOW + timedelta(days=365) == box.link.signed_time
    box.note_contact(NOW, NOW, newest_order=True)
    assert NOW == box.link.signed_time
    box.note_contact(NOW, NOW + timedelta(hours=1))
    assert NOW + timedelta(hours=1) == box.link.signed_time


def test_a_file_that_is_no_box_is_a_clear_error(tmp_path: Path) -> None:
    """Garbage where the box should be."""
    path = tmp_path / "orders"
    path.write_bytes(b"not a database, " * 500)
    with pytest.raises(OrderBoxUnavailable):
        OrderBox(path)
