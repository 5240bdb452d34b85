"""Giving a card to a pupil: its number goes to the server sealed, and from there to every terminal."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from canteen.credentials import CardNumber
from canteen.errors import InvalidCardNumber
from canteen.identifiers import DeviceId, PupilId
from enrollment_station.errors import CardRefused, PupilNotFound
from enrollment_station.language import marked
from enrollment_station.recording import Recorder
from sync.facts import CardIssued, CardRetired
from sync.sealing import SealingKey
from templates_store.errors import UnknownPupil
from templates_store.store import TemplateStore

NOT_A_NUMBER = marked("Ce n’est pas un numéro de carte : il faut 8 à 20 chiffres ou lettres de A à F.")
BLOCKED = marked("Cette carte a été déclarée perdue : elle reste bloquée. Donnez-en une autre.")
ANOTHERS = marked("Cette carte est déjà celle d’un autre élève.")

_LONGEST_TYPED = 64
_SEPARATORS = str.maketrans("", "", " :-.\t\r\n")


def read_card_number(untrusted_text: str) -> CardNumber:
    """A number as people and keyboard-wedge readers type it: with or without separators, in either case.

    Raises:
        CardRefused: it is none.
    """
    try:
        return CardNumber(untrusted_text[:_LONGEST_TYPED].translate(_SEPARATORS).upper())
    except InvalidCardNumber as error:
        raise CardRefused(NOT_A_NUMBER) from error


@dataclass(frozen=True, slots=True)
class CardDesk:
    """Gives cards out."""

    device: DeviceId
    store: TemplateStore
    recorder: Recorder
    server_seal: SealingKey
    lock: threading.RLock

    def issue(self, pupil: PupilId, untrusted_number: str) -> None:
        """Give the card to the pupil; giving it again to the same one is harmless.

        Raises:
            PupilNotFound: nobody of that pseudonym is on the roster.
            CardRefused: no card number, a blocked card, or another pupil's.
        """
        self.give(pupil, read_card_number(untrusted_number))

    def give(self, pupil: PupilId, card: CardNumber) -> None:
        """As `issue`, for a number that was read."""
        with self.lock:
            found = self.store.find_by_card(card)
            if found is not None and found.blocked:
                raise CardRefused(BLOCKED)
            if found is not None and found.pupil != pupil:
                raise CardRefused(ANOTHERS)
            try:
                self.store.put_card(card, pupil)
            except UnknownPupil as error:
                raise PupilNotFound(pupil) from error
            kept = self.store.find_by_card(card)
            if kept is None or kept.blocked:
                raise CardRefused(BLOCKED)
            context = {"v": 1, "what": "card", "station": self.device, "pupil": pupil}
            self.recorder.record(CardIssued(pupil, self.server_seal.seal(card.hexadecimal.encode("ascii"), context)))

    def retire(self, card: CardNumber) -> None:
        """The number is about to leave its card for good: blocked here, and at the server and all its devices.

        Raises:
            JournalUnavailable, StoreUnavailable: nothing is, and the card must not be touched.
        """
        with self.lock:
            # The fact first: after a power cut in between, the server's order blocks it here too.
            context = {"v": 1, "what": "card-retired", "station": self.device}
            self.recorder.record(CardRetired(self.server_seal.seal(card.hexadecimal.encode("ascii"), context)))
            self.store.block_card(card)
