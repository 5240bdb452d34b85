"""Making a pupil's card at the reader: encode, check, wipe. What is on a card decides what may be done with it.

No state is kept between tries: a card that was taken away is looked at again, and finished. The fact comes last, after
the card was read back as a terminal reads it, so a card that is not finished is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from canteen.credentials import CardNumber
from canteen.identifiers import PupilId
from enrollment_station.audit_log import AuditedAction, AuditLog
from enrollment_station.cards import CardDesk
from enrollment_station.errors import PupilNotFound
from enrollment_station.station_reader import NotServed, StationReader
from firmware_bridge.card_encoding import (
    CardBlank,
    CardEncoded,
    CardEncoder,
    EncodingStep,
    EncodingStop,
    EncodingStopped,
)
from firmware_bridge.card_keys import EncodingKeys
from firmware_bridge.card_layout import CardLayout
from firmware_bridge.card_reading import UidCards
from firmware_bridge.desfire import CardChannel
from firmware_bridge.devices import CardRefusal

_NOT_OURS_TO_WRITE = frozenset(
    {
        CardRefusal.OTHER_SCHOOL,
        CardRefusal.COPIED_UID,
        CardRefusal.REPLAYED_SESSION,
        CardRefusal.NOT_GENUINE,
        CardRefusal.UNKNOWN_FORMAT,
    }
)
"""Complete cards of somebody else's, and what no honest card shows: encoding must not make them look right."""
_NOT_OURS_TO_WIPE = _NOT_OURS_TO_WRITE - {CardRefusal.NOT_GENUINE, CardRefusal.UNKNOWN_FORMAT}


class Whose(StrEnum):
    """Whose a card's number is, here."""

    THIS_PUPILS = "this-pupils"
    ANOTHERS = "anothers"
    BLOCKED = "blocked"
    NOBODYS = "nobodys"


@dataclass(frozen=True, slots=True)
class CardGiven:
    """The card is the pupil's, on record and on its way to the terminals.

    Attributes:
        fresh: it has a new number; otherwise it was complete and is the same as before.
        taken_over: it had another number before, which is now on no card.
    """

    fresh: bool
    taken_over: bool = False


@dataclass(frozen=True, slots=True)
class CardSeen:
    """The card is complete, and read as a terminal reads it."""

    whose: Whose


@dataclass(frozen=True, slots=True)
class CardHeldBack:
    """The card is whole and in use, or was declared lost: nothing was changed, until the operator says so."""

    whose: Whose


@dataclass(frozen=True, slots=True)
class CardNotRead:
    """The card gave no number, or is not ours to change; nothing was changed."""

    reason: CardRefusal


CardOutcome = CardGiven | CardSeen | CardHeldBack | CardNotRead | CardBlank | EncodingStopped | NotServed


def whose_is(cards: CardDesk, number: CardNumber, pupil: PupilId) -> Whose:
    """Whose the number is, seen from this pupil's page. Raises StoreUnavailable."""
    found = cards.store.find_by_card(number)
    if found is None:
        return Whose.NOBODYS
    if found.blocked:
        return Whose.BLOCKED
    return Whose.THIS_PUPILS if found.pupil == pupil else Whose.ANOTHERS


@dataclass(frozen=True, slots=True)
class EncodingDesk:
    """Makes the school's cards. Each act is in the audit log before the card is touched, without any number."""

    reader: StationReader
    keys: EncodingKeys = field(repr=False)
    layout: CardLayout
    cards: CardDesk
    audit: AuditLog

    def encode(self, pupil: PupilId, operator: str, *, reuse: bool = False) -> CardOutcome:
        """Make the next card on the reader the pupil's.

        A card of this pupil's keeps its number; any other gets a new one, since a number never changes hands.

        Args:
            pupil: who is to have it.
            operator: who does it, for the audit log.
            reuse: also take a card that is another pupil's or was declared lost; its old number is blocked here.

        Raises:
            PupilNotFound: nobody of that pseudonym is on the roster; no card was touched.
            CardRefused: the card was blocked while it was written.
        """
        _require(self.cards, pupil)
        self._note(operator, AuditedAction.CARD_ENCODING, pupil)

        def work(channel: CardChannel, at: Callable[[str], None]) -> CardOutcome | CardEncoded:
            at(EncodingStep.IDENTIFY)
            encoder = CardEncoder(self.keys, self.layout, at)
            found = _read(encoder.verify, channel)
            if isinstance(found, CardNumber):
                whose = whose_is(self.cards, found, pupil)
                if whose is Whose.THIS_PUPILS and not reuse:
                    return encoder.personalise(channel)
                if whose in {Whose.ANOTHERS, Whose.BLOCKED} and not reuse:
                    return CardHeldBack(whose)
                self._retire(found, whose)
                return encoder.reuse(channel)
            if found is CardRefusal.TORN_AWAY:
                return EncodingStopped(EncodingStep.IDENTIFY, EncodingStop.TORN_AWAY)
            if found in _NOT_OURS_TO_WRITE:
                return CardNotRead(found)
            return encoder.personalise(channel)

        def settle(outcome: CardOutcome | CardEncoded) -> CardOutcome:
            if not isinstance(outcome, CardEncoded):
                return outcome
            self._note(operator, AuditedAction.CARD_ISSUED, pupil)
            self.cards.give(pupil, outcome.card)
            return CardGiven(outcome.fresh, taken_over=reuse)

        return self.reader.run(operator, pupil, work, settle, _not_still_yet)

    def check(self, pupil: PupilId, operator: str) -> CardOutcome:
        """Read the next card as a terminal does, and say whose it is. Raises PupilNotFound."""
        _require(self.cards, pupil)
        self._note(operator, AuditedAction.CARD_CHECKED, pupil)

        def work(channel: CardChannel, at: Callable[[str], None]) -> CardOutcome:
            at(EncodingStep.VERIFY)
            return _seen(self.cards, _read(CardEncoder(self.keys, self.layout).verify, channel), pupil)

        return self.reader.run(operator, pupil, work, lambda outcome: outcome, _not_still_yet)

    def wipe(self, pupil: PupilId, operator: str) -> CardOutcome:
        """Take everything of the school's off the next card; another pupil's is left alone. Raises PupilNotFound."""
        _require(self.cards, pupil)
        self._note(operator, AuditedAction.CARD_WIPED, pupil)

        def work(channel: CardChannel, at: Callable[[str], None]) -> CardOutcome:
            at(EncodingStep.IDENTIFY)
            encoder = CardEncoder(self.keys, self.layout, at)
            found = _read(encoder.verify, channel)
            if isinstance(found, CardNumber):
                whose = whose_is(self.cards, found, pupil)
                if whose is Whose.ANOTHERS:
                    return CardHeldBack(whose)
                self._retire(found, whose)
            elif found is CardRefusal.TORN_AWAY:
                return EncodingStopped(EncodingStep.IDENTIFY, EncodingStop.TORN_AWAY)
            elif found in _NOT_OURS_TO_WIPE:
                return CardNotRead(found)
            return encoder.wipe(channel)

        return self.reader.run(operator, pupil, work, lambda outcome: outcome, _not_still_yet)

    def _retire(self, number: CardNumber, whose: Whose) -> None:
        """The number's card is about to lose it for good. Before the card: taken away, it is still known to be over."""
        if whose in {Whose.THIS_PUPILS, Whose.ANOTHERS}:
            self.cards.retire(number)

    def _note(self, operator: str, action: AuditedAction, pupil: PupilId) -> None:
        self.audit.note(self.cards.recorder.now(), operator, action, pupil)


@dataclass(frozen=True, slots=True)
class UidDesk:
    """Takes cards that pupils have already, by their chip number; weak, and said to be so wherever it is offered."""

    reader: StationReader
    cards: CardDesk
    audit: AuditLog

    def take(self, pupil: PupilId, operator: str) -> CardOutcome:
        """Give the pupil the next card on the reader. Raises PupilNotFound, CardRefused."""
        _require(self.cards, pupil)

        def settle(found: CardNumber | CardRefusal) -> CardOutcome:
            if isinstance(found, CardRefusal):
                return CardNotRead(found)
            fresh = whose_is(self.cards, found, pupil) is not Whose.THIS_PUPILS
            self.audit.note(self.cards.recorder.now(), operator, AuditedAction.CARD_ISSUED, pupil)
            self.cards.give(pupil, found)
            return CardGiven(fresh)

        return self.reader.run(operator, pupil, _read_uid, settle, _not_still_yet)

    def check(self, pupil: PupilId, operator: str) -> CardOutcome:
        """Whose the next card on the reader is. Raises PupilNotFound."""
        _require(self.cards, pupil)
        self.audit.note(self.cards.recorder.now(), operator, AuditedAction.CARD_CHECKED, pupil)
        return self.reader.run(
            operator, pupil, _read_uid, lambda found: _seen(self.cards, found, pupil), _not_still_yet
        )


def _read(read: Callable[[CardChannel], CardNumber | CardRefusal], channel: CardChannel) -> CardNumber | CardRefusal:
    """A second time where noise may have spoiled it, as a terminal does."""
    found = read(channel)
    return read(channel) if found in {CardRefusal.UNREADABLE, CardRefusal.SPOILED_SESSION} else found


def _not_still_yet(outcome: object) -> bool:
    """The card left before anything was done with it: it was being put down, or the reader was late to see it go."""
    return outcome in {
        CardRefusal.TORN_AWAY,
        CardNotRead(CardRefusal.TORN_AWAY),
        EncodingStopped(EncodingStep.IDENTIFY, EncodingStop.TORN_AWAY),
    }


def _read_uid(channel: CardChannel, at: Callable[[str], None]) -> CardNumber | CardRefusal:
    at(EncodingStep.IDENTIFY)
    return _read(UidCards().read, channel)


def _seen(cards: CardDesk, found: CardNumber | CardRefusal, pupil: PupilId) -> CardOutcome:
    return CardNotRead(found) if isinstance(found, CardRefusal) else CardSeen(whose_is(cards, found, pupil))


def _require(cards: CardDesk, pupil: PupilId) -> None:
    if cards.store.pupil(pupil) is None:
        raise PupilNotFound(pupil)
