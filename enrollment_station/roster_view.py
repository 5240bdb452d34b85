"""The roster as the page shows it: one state a pupil, searched, filtered and counted."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from canteen.consent import ConsentState
from canteen.identifiers import PupilId
from enrollment_station.language import marked
from templates_store.standing import Standing

SHOWN_MOST = 200
"""Rows on a page: a class or a search fits; all of 2,000 pupils would only be scrolled past."""


class PupilState(StrEnum):
    """What an operator has to do with a pupil, or has done. Values stand in addresses."""

    TO_ENROLL = "a-enroler"
    """Consent given, no hand yet."""
    HAND = "main"
    TO_RENEW = "a-reprendre"
    """The hand has outgrown its reference, or what stood in for it is over."""
    OPPOSED = "opposition"
    CARD = "carte"
    """Nobody has answered; the pupil has a card, as by default."""
    NOTHING = "sans-carte"
    """Neither hand nor card: cannot pass yet."""


STATE_NAMES: dict[PupilState, str] = {
    PupilState.TO_ENROLL: marked("À enrôler"),
    PupilState.HAND: marked("Main"),
    PupilState.TO_RENEW: marked("À réenrôler"),
    PupilState.OPPOSED: marked("Opposition"),
    PupilState.CARD: marked("Carte"),
    PupilState.NOTHING: marked("Sans carte"),
}


@dataclass(frozen=True, slots=True)
class RosterLine:
    """A pupil on the page; `card_missing` says that a card must be given before the pupil can pass."""

    pupil: PupilId
    first_name: str
    last_name: str
    class_name: str
    state: PupilState
    has_card: bool

    @property
    def card_missing(self) -> bool:
        return not self.has_card and self.state in {PupilState.OPPOSED, PupilState.NOTHING}


@dataclass(frozen=True, slots=True)
class RosterView:
    """What the list shows. Counts are of the whole roster, whatever is searched for."""

    lines: Sequence[RosterLine]
    found: int
    total: int
    counts: dict[PupilState, int]
    classes: list[str]


def state_of(consent: ConsentState, revision: int, *, has_card: bool, renew_revision: int = 0) -> PupilState:
    """The one state that matters to the operator; `renew_revision` is the reference that is to be taken anew."""
    if consent in {ConsentState.OPPOSED, ConsentState.WITHDRAWN}:
        return PupilState.OPPOSED
    if consent is ConsentState.GIVEN:
        if revision:
            return PupilState.TO_RENEW if revision <= renew_revision else PupilState.HAND
        return PupilState.TO_ENROLL
    return PupilState.CARD if has_card else PupilState.NOTHING


def view_roster(
    standings: Iterable[Standing],
    untrusted_search: str = "",
    untrusted_state: str = "",
    untrusted_class: str = "",
    *,
    renew: Mapping[PupilId, int] | None = None,
) -> RosterView:
    """The pupils whose name has every word searched for, in that state and class; `renew` as `AdviceList.due`."""
    lines = sorted((_line(standing, renew or {}) for standing in standings), key=_place)
    words = _folded(untrusted_search[:100]).split()
    found = [
        line
        for line in lines
        if (not untrusted_state or line.state == untrusted_state)
        and (not untrusted_class or line.class_name == untrusted_class)
        and all(word in _folded(f"{line.first_name} {line.last_name} {line.class_name}") for word in words)
    ]
    counts = Counter(line.state for line in lines)
    return RosterView(
        lines=found[:SHOWN_MOST],
        found=len(found),
        total=len(lines),
        counts={state: counts[state] for state in PupilState},
        classes=sorted({line.class_name for line in lines}),
    )


def _line(standing: Standing, renew: Mapping[PupilId, int]) -> RosterLine:
    record = standing.record
    return RosterLine(
        pupil=record.pupil,
        first_name=record.first_name,
        last_name=record.last_name,
        class_name=record.class_name,
        state=state_of(
            standing.consent,
            standing.revision,
            has_card=standing.has_card,
            renew_revision=renew.get(record.pupil, 0),
        ),
        has_card=standing.has_card,
    )


def _place(line: RosterLine) -> tuple[str, str, str]:
    # Not the file's own order, where É comes after Z.
    return _folded(line.class_name), _folded(line.last_name), _folded(line.first_name)


def _folded(text: str) -> str:
    """Without accents and case: "helene" finds Hélène."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in plain if not unicodedata.combining(character))
