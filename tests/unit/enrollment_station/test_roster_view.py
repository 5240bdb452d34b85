"""The list: one state a pupil, found by any part of the name, counted over all."""

from __future__ import annotations

import pytest

from canteen.consent import ConsentState
from canteen.identifiers import PupilId
from enrollment_station.roster_view import SHOWN_MOST, STATE_NAMES, PupilState, state_of, view_roster
from templates_store.standing import Standing
from templates_store.store import PupilRecord


def _standing(
    n: int, first: str, last: str, class_name: str, consent: ConsentState = ConsentState.NONE, revision: int = 0
) -> Standing:
    return Standing(
        PupilRecord(PupilId(f"p-{n:016x}"), first, last, class_name, ()), consent, revision, has_card=n % 2 == 0
    )


ROSTER = [
    _standing(0, "Zoé", "Échenoz", "6e A", ConsentState.GIVEN, 3),
    _standing(1, "Hélène", "Dupont", "6e A", ConsentState.GIVEN),
    _standing(2, "Jean-Noël", "Fabre", "5e B", ConsentState.OPPOSED),
    _standing(3, "Maïa", "Zidi", "5e B"),
]


@pytest.mark.parametrize(
    ("consent", "revision", "has_card", "expected"),
    [
        (ConsentState.NONE, 0, True, PupilState.CARD),
        (ConsentState.NONE, 0, False, PupilState.NOTHING),
        (ConsentState.GIVEN, 0, True, PupilState.TO_ENROLL),
        (ConsentState.GIVEN, 2, False, PupilState.HAND),
        (ConsentState.OPPOSED, 0, True, PupilState.OPPOSED),
        (ConsentState.WITHDRAWN, 2, True, PupilState.OPPOSED),
    ],
)
def test_one_state_a_pupil(consent: ConsentState, revision: int, has_card: bool, expected: PupilState) -> None:
    """A withdrawal shows even while a reference were still held."""
    assert expected is state_of(consent, revision, has_card=has_card)


@pytest.mark.parametrize(
    ("search", "state", "class_name", "expected"),
    [
        ("", "", "", ["Fabre", "Zidi", "Dupont", "Échenoz"]),
        ("helene", "", "", ["Dupont"]),
        ("ECHEN zoe", "", "", ["Échenoz"]),
        ("6e", "", "", ["Dupont", "Échenoz"]),
        ("", "main", "", ["Échenoz"]),
        ("", "opposition", "6e A", []),
        ("", "", "5e B", ["Fabre", "Zidi"]),
        ("", "nonsense", "", []),
    ],
)
def test_search_and_filters(search: str, state: str, class_name: str, expected: list[str]) -> None:
    """Accents and case do not matter, É comes before F, and the counts are of the whole roster."""
    view = view_roster(ROSTER, search, state, class_name)
    assert expected == [line.last_name for line in view.lines]
    assert 4 == view.total
    assert {PupilState.HAND: 1, PupilState.TO_ENROLL: 1, PupilState.OPPOSED: 1} == {
        key: count
        for key, count in view.counts.items()
        if key not in {PupilState.CARD, PupilState.NOTHING, PupilState.TO_RENEW}
    }


def test_a_large_roster_is_cut_and_counted() -> None:
    """More rows than anybody scrolls are found but not shown."""
    view = view_roster([_standing(n, "A", f"B{n}", "6e A") for n in range(SHOWN_MOST + 5)])
    assert (SHOWN_MOST, SHOWN_MOST + 5) == (len(view.lines), view.found)


def test_every_state_has_a_name() -> None:
    """For the filter and the badge."""
    assert set(PupilState) == set(STATE_NAMES)
