"""Staff vouch for a pupil: who is let through, why, and on whose word. Always a fact of the journal.

It is the way out when a hand cannot be read, a card is at home, the clock is lost or no calendar has come. It needs the
journal: what cannot be recorded is not opened.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from canteen.clock import Clock
from canteen.identifiers import PupilId
from canteen.meal_pass import PassMethod
from sync.facts import FactKind
from sync.pass_journal import JournalReader
from terminal.display.language import _

VALID_FOR_S = 10.0
"""Staff stand at the lane: what could not be done by then is asked again, and opens nothing later."""
_KEPT = 50


class VouchReason(StrEnum):
    """Why; the values stand in the journal."""

    HAND_NOT_READ = "hand-not-read"
    CARD_FORGOTTEN = "card-forgotten"
    CODE_FORGOTTEN = "code-forgotten"
    TERMINAL_ILL = "terminal-ill"
    NOT_ON_THE_LIST = "not-on-the-list"
    SECOND_PASSAGE = "second-passage"
    """Already served, and rightly let through again: the one reason that sets that aside."""


REASONS: dict[VouchReason, str] = {
    VouchReason.HAND_NOT_READ: _("Main non lue"),
    VouchReason.CARD_FORGOTTEN: _("Carte oubliée ou perdue"),
    VouchReason.CODE_FORGOTTEN: _("Code oublié"),
    VouchReason.TERMINAL_ILL: _("Panne de la borne"),
    VouchReason.NOT_ON_THE_LIST: _("Repas non prévu, à régulariser"),
    VouchReason.SECOND_PASSAGE: _("Déjà passé, mais pas servi"),
}


class VouchOutcome(StrEnum):
    """What came of it, for the page."""

    WAITING = "waiting"
    OPENED = "opened"
    RECORDED = "recorded"
    """In the journal, but the turnstile is out of service: to be opened by hand."""
    ALREADY_SERVED = "already-served"
    NOT_RECORDED = "not-recorded"
    NOT_OPENED = "not-opened"
    TOO_LATE = "too-late"


@dataclass(frozen=True, slots=True)
class Vouching:
    """One request of a member of staff.

    Attributes:
        by: the name under which the configuration knows who asks.
        asked_at_s: when (monotonic).
    """

    number: str
    pupil: PupilId
    first_name: str = field(repr=False)
    reason: VouchReason
    by: str = field(repr=False)
    asked_at_s: float

    @property
    def because(self) -> str:
        """What the journal and the ledger say: the reason in its fixed words, and who vouched."""
        return f"{self.reason.value} ({self.by})"


class VouchDesk:
    """Between the staff page, on its threads, and the lane: requests go in by the queue, outcomes come back here."""

    def __init__(self, post: Callable[[Vouching], None], journal: JournalReader, clock: Clock) -> None:
        self._post, self._journal, self._clock = post, journal, clock
        self._lock = threading.Lock()
        self._outcomes: OrderedDict[str, tuple[float, VouchOutcome]] = OrderedDict()

    def ask(self, pupil: PupilId, first_name: str, reason: VouchReason, by: str) -> str:
        """Ask the lane to let this pupil through; the number under which `outcome_of` answers."""
        asked_at_s = self._clock.monotonic_s()
        vouching = Vouching(secrets.token_hex(8), pupil, first_name, reason, by, asked_at_s)
        with self._lock:
            self._outcomes[vouching.number] = (asked_at_s, VouchOutcome.WAITING)
            while len(self._outcomes) > _KEPT:
                self._outcomes.popitem(last=False)
        self._post(vouching)
        return vouching.number

    def answer(self, vouching: Vouching | None, outcome: VouchOutcome) -> None:
        """The lane's word; the first one counts."""
        if vouching is None:
            return
        with self._lock:
            asked_at_s, known = self._outcomes.get(vouching.number, (0.0, VouchOutcome.TOO_LATE))
            if known is VouchOutcome.WAITING:
                self._outcomes[vouching.number] = (asked_at_s, outcome)

    def outcome_of(self, untrusted_number: str) -> VouchOutcome:
        """What came of it so far; too late where nobody took it up in its time."""
        with self._lock:
            asked_at_s, outcome = self._outcomes.get(untrusted_number, (0.0, VouchOutcome.TOO_LATE))
        if outcome is VouchOutcome.WAITING and self._clock.monotonic_s() - asked_at_s > VALID_FOR_S + 1.0:
            return VouchOutcome.TOO_LATE
        return outcome

    def vouched_today(self, timezone: str) -> int:
        """How many passes staff have vouched for at this terminal since midnight. Raises JournalUnavailable."""
        zone = ZoneInfo(timezone)
        midnight = datetime.combine(self._clock.utc_now().astimezone(zone).date(), datetime.min.time(), zone)
        return sum(
            entry.kind == FactKind.PASS_GRANTED and entry.body.get("method") == PassMethod.VOUCHED.value
            for entry in self._journal.entries_since(midnight)
        )
