"""Cards: whose they are, which are blocked. A number comes sealed from the station and stays sealed here."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server.alarms import AlarmKind, raise_alarm
from billing_server.errors import UnknownCard
from billing_server.models import Card, PupilRow
from billing_server.orders import OrderDesk, locked_devices
from billing_server.vault import Vault
from canteen.clock import Clock
from canteen.credentials import CardNumber
from canteen.errors import InvalidCardNumber
from canteen.identifiers import DeviceId, PupilId
from sync.errors import SealBroken
from sync.facts import CardIssued, CardRetired
from sync.orders import CardAssigned, CardBlocked
from sync.sealing import OpeningKey


@dataclass(frozen=True, slots=True)
class CardDesk:
    """Takes cards in, blocks them, and tells every device."""

    vault: Vault
    orders: OrderDesk
    opening_key: OpeningKey = field(repr=False)
    clock: Clock

    def take_issued(self, session: Session, station: DeviceId, fact: CardIssued) -> None:
        """A station gave a card to a pupil: keep it sealed, and tell every device whose it is."""
        now = self.clock.utc_now()
        pupil = session.get(PupilRow, fact.pupil)
        if pupil is None or pupil.departed_at is not None:
            raise_alarm(session, AlarmKind.UNKNOWN_PUPIL, fact.pupil, now, device=station, detail="card")
            return
        try:
            number = self._open(station, fact)
        except (SealBroken, InvalidCardNumber, UnicodeDecodeError):
            raise_alarm(session, AlarmKind.CARD_UNREADABLE, f"{station}/{fact.pupil}", now, device=station)
            return
        lookup = self.vault.lookup("card", number.hexadecimal)
        for earlier in session.scalars(select(Card).where(Card.number_lookup == lookup)).all():
            if earlier.pupil != fact.pupil and earlier.blocked_at is None:
                raise_alarm(session, AlarmKind.CARD_MOVED, f"card {earlier.id}", now, device=station)
            # One number, one row: the history is in the journal entries.
            self._forget(earlier)
            earlier.blocked_at = earlier.blocked_at or now
        session.add(
            Card(
                pupil=fact.pupil,
                number_sealed=self.vault.seal(number.hexadecimal, f"card:{fact.pupil}"),
                number_lookup=lookup,
                issued_by=station,
                assigned_at=now,
            )
        )
        self.orders.issue_to_all(session, CardAssigned(fact.pupil, number))

    def take_retired(self, session: Session, station: DeviceId, fact: CardRetired) -> None:
        """A station took a number off its card for good: it opens nothing any more, at any device."""
        context = {"v": 1, "what": "card-retired", "station": station}
        try:
            number = CardNumber(self.opening_key.open(fact.sealed_card, context).decode("ascii"))
        except (SealBroken, InvalidCardNumber, UnicodeDecodeError):
            now = self.clock.utc_now()
            raise_alarm(session, AlarmKind.CARD_UNREADABLE, f"{station}/retired", now, device=station)
            return
        lookup = self.vault.lookup("card", number.hexadecimal)
        for card in session.scalars(select(Card).where(Card.number_lookup == lookup)).all():
            self._block(session, card)

    def active_cards(self, session: Session) -> list[CardAssigned]:
        """What a new device is told of cards."""
        rows = session.scalars(select(Card).where(Card.blocked_at.is_(None)).order_by(Card.id))
        return [CardAssigned(PupilId(row.pupil), number) for row in rows if (number := self._number(row)) is not None]

    def blocked_cards(self, session: Session) -> list[CardBlocked]:
        """What a device is told that may have missed it."""
        rows = session.scalars(select(Card).where(Card.blocked_at.is_not(None)).order_by(Card.id))
        return [CardBlocked(number) for row in rows if (number := self._number(row)) is not None]

    def block(self, session: Session, card_id: int) -> None:
        """A card was lost or handed back: it opens nothing any more. Raises UnknownCard."""
        locked_devices(session)
        card = session.get(Card, card_id, with_for_update=True)
        if card is None:
            raise UnknownCard("no such card")
        self._block(session, card)

    def block_all(self, session: Session, pupil: PupilId) -> int:
        """Block every card of `pupil`; how many there were."""
        cards = session.scalars(select(Card).where(Card.pupil == pupil, Card.blocked_at.is_(None))).all()
        for card in cards:
            self._block(session, card)
        return len(cards)

    def forget_all(self, session: Session, pupil: str) -> None:
        """The pupil's purge is complete: the numbers of the cards go here too."""
        for card in session.scalars(select(Card).where(Card.pupil == pupil)).all():
            self._forget(card)

    def _block(self, session: Session, card: Card) -> None:
        number = self._number(card)
        if card.blocked_at is None and number is not None:
            card.blocked_at = self.clock.utc_now()
            self.orders.issue_to_all(session, CardBlocked(number))

    def _number(self, card: Card) -> CardNumber | None:
        if card.number_sealed is None:
            return None
        return CardNumber(self.vault.open(card.number_sealed, f"card:{card.pupil}"))

    def _open(self, station: DeviceId, fact: CardIssued) -> CardNumber:
        context = {"v": 1, "what": "card", "station": station, "pupil": fact.pupil}
        return CardNumber(self.opening_key.open(fact.sealed_card, context).decode("ascii"))

    @staticmethod
    def _forget(card: Card) -> None:
        card.number_sealed = None
        card.number_lookup = None
