"""The self test: all well on a healthy lane, and the one thing that is ill is named."""

from __future__ import annotations

from templates_store.errors import StoreUnavailable
from terminal.self_test import run_self_test
from tests.unit.terminal.lane import School


def failed(school: School) -> list[str]:
    return [check.name for check in run_self_test(school.lane.devices) if not check.passed]


def test_healthy(school: School) -> None:
    """Every check passes, the published answers of the cryptography among them."""
    assert [] == failed(school)


def test_each_ill_part_is_named(school: School) -> None:
    """One at a time."""
    school.hands.camera_works = False
    assert ["camera"] == failed(school)
    school.hands.camera_works = True
    school.board.online = False
    assert ["board"] == failed(school)
    school.board.online = True
    school.store.close()
    assert ["store"] == failed(school)
    (store,) = [check for check in run_self_test(school.lane.devices) if not check.passed]
    assert StoreUnavailable.__name__ == store.remark
    school.journal.close()
    school.box.close()
    assert ["store", "journal", "orders"] == failed(school)
