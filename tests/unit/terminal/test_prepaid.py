"""Prepaid meals at a lane without a line: what the server said last, less what was eaten since, here and next door."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from canteen.access_decision import MissingEntitlement, Reason
from canteen.clock import ClockTrust
from canteen.entitlements import Entitlement, EntitlementKind
from canteen.identifiers import new_pass_id, new_purge_id
from canteen.meal_pass import PassAbandoned, PassCompleted, PassGranted, PassMethod
from canteen.serving_periods import EVERY_DAY, ServiceMoment
from sync.orders import BalancesOrder, CountedUpTo, PurgeCause, PurgeOrder, PurgeScope, Roster
from sync.pass_journal import PassJournal
from terminal.pass_machine import State
from terminal.prepaid import BALANCES_DOCUMENT
from tests.unit.terminal.lane import (
    NEIGHBOUR,
    NEIGHBOUR_KEY,
    NOON,
    TERMINAL,
    YEAR,
    School,
    card,
    pupil_id,
    roster_pupil,
)

DENY, SERVE = MissingEntitlement.DENY, MissingEntitlement.SERVE_AND_BILL
EXTERNAL = 2


@pytest.fixture
def external(school: School) -> School:
    """Pupil 2 pays meal by meal; pupil 1 has a forfait."""
    prepaid = (Entitlement(EntitlementKind.EXTERNAL_MEAL, EVERY_DAY, *YEAR),)
    school.order(Roster((replace(roster_pupil(EXTERNAL), entitlements=prepaid),), whole=False))
    school.settle(1.0)
    return school


def tell(school: School, left: int, without: MissingEntitlement, *counted: CountedUpTo) -> None:
    school.order(BalancesOrder(((pupil_id(EXTERNAL), left),), without, counted))
    school.settle(3.0)


def eats(school: School, number: int = EXTERNAL) -> str | None:
    """None if served, else the reason; a day later afterwards, and back at rest."""
    school.present(card(number))
    reason = None if school.is_in(State.PASSAGE_OPEN) else school.screen.view.reason
    if reason is None:
        assert school.push()
    school.settle(3.0)
    school.clock.set_wall(school.clock.utc_now() + timedelta(days=1))
    school.settle(1.0)
    return reason


def here(school: School) -> CountedUpTo:
    return CountedUpTo(TERMINAL, school.journal.generation or "", school.journal.last_sequence)


def test_none_left_is_denied_where_the_school_says_so(external: School) -> None:
    """Two meals, no line for three days: the third is denied by its reason; a forfait is not asked."""
    tell(external, 2, DENY)
    assert [None, None, "no-meals-left"] == [eats(external), eats(external), eats(external)]
    assert eats(external, 1) is None


def test_else_it_is_served_with_a_sign_for_staff(external: School) -> None:
    """The gate opens, and the sign is small and says nothing to the queue."""
    tell(external, 0, SERVE)
    external.present(card(EXTERNAL))
    assert (State.PASSAGE_OPEN, "•") == (external.state, external.screen.view.staff_note)
    external.push()
    external.settle(3.0)
    external.present(card(1))
    assert external.screen.view.staff_note is None


def test_nobody_is_counted_without_a_word(external: School) -> None:
    """No order, or another pupil's balance: as before."""
    assert eats(external) is None
    external.order(BalancesOrder(((pupil_id(3), 0),), DENY, ()))
    external.settle(1.0)
    assert eats(external) is None


def test_a_start_in_between_forgets_nothing(external: School) -> None:
    """What was eaten since the word is in the journal, and is taken off again after a power cut."""
    tell(external, 2, DENY)
    assert eats(external) is None
    external.close()
    external.open()
    external.begin()
    assert [None, "no-meals-left"] == [eats(external), eats(external)]


def test_what_the_server_has_counted_is_not_taken_off_twice(external: School) -> None:
    """A fresh word with a mark; an older mark counts again what lies beyond it."""
    tell(external, 5, DENY)
    before = here(external)
    assert eats(external) is None
    tell(external, 1, DENY, here(external))
    assert [None, "no-meals-left"] == [eats(external), eats(external)]
    tell(external, 2, DENY, before)
    assert "no-meals-left" == eats(external)  # two were eaten since that mark
    tell(external, 3, DENY, before)
    assert [None, "no-meals-left"] == [eats(external), eats(external)]


def test_what_a_neighbour_served_is_taken_off_and_given_back(external: School, tmp_path: Path) -> None:
    """Heard before the first word too; an abandoned pass leaves the meal."""
    (tmp_path / "next").mkdir()
    journal = PassJournal(tmp_path / "next" / "j.sqlite", NEIGHBOUR, NEIGHBOUR_KEY)
    fact = PassGranted(
        new_pass_id(),
        pupil_id(EXTERNAL),
        PassMethod.CARD,
        ServiceMoment(NOON.date() - timedelta(days=1), "midi"),
        EntitlementKind.EXTERNAL_MEAL,
    )
    other = replace(fact, pass_id=new_pass_id())
    now = external.clock.utc_now()
    external.box.put_neighbours(journal.append_all([fact, PassCompleted(fact.pass_id), other], now, ClockTrust.TRUSTED))
    external.settle(1.0)
    tell(external, 2, DENY)
    external.present(card(EXTERNAL))
    assert Reason.NO_MEALS_LEFT.value == external.screen.view.reason
    external.settle(3.0)
    external.box.put_neighbours(journal.append_all([PassAbandoned(other.pass_id)], now, ClockTrust.TRUSTED))
    external.settle(1.0)
    assert eats(external) is None


def test_a_purge_takes_the_balance_along(external: School) -> None:
    """Nothing of the pupil stays in the store's documents."""
    tell(external, 2, DENY)
    deadline = external.clock.utc_now() + timedelta(days=7)
    external.order(
        PurgeOrder(new_purge_id(), pupil_id(EXTERNAL), PurgeScope.EVERYTHING, PurgeCause.DEPARTURE, deadline)
    )
    external.settle(1.0)
    document = external.store.document(BALANCES_DOCUMENT)
    assert document is not None
    assert [] == document["meals_left"]
