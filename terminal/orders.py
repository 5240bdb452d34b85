"""The server's orders, one by one: checked, opened, applied to the store, told to the journal, taken from the box.

The order of the last three makes a kill harmless. Killed before the journal: it is applied again, and applying twice
changes nothing. Killed after it: the journal knows the order, and `finish_interrupted` only takes it from the box, so
that no second receipt is ever written. An order that is no good is refused by name; the next one has its turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict

from canteen.clock import Clock
from canteen.credentials import PersonalCode
from canteen.identifiers import DeviceId
from sync.errors import BadSignature, JournalUnavailable, MalformedMessage, OrderBoxUnavailable, SealBroken
from sync.facts import REFERENCE_EXPIRED, Fact, OrderApplied, OrderRefused, PurgeReceipt, ReferencesDestroyed
from sync.messages import SignedOrder
from sync.order_bodies import read_order, write_order
from sync.order_box import OrderBox
from sync.orders import (
    BalancesOrder,
    CalendarOrder,
    CardAssigned,
    CardBlocked,
    DeviceEntry,
    DeviceRole,
    DevicesOrder,
    LeaseOrder,
    Order,
    PurgeOrder,
    PurgeScope,
    ReferenceOrder,
    Roster,
    RosterPupil,
    SealAgainOrder,
)
from sync.purge_request import receipt_of
from sync.sealed_reference import ReferenceGrant, open_reference
from sync.sealing import OpeningKey
from sync.signing import VerifyingKey
from templates_store.errors import CodeTaken, ConsentMissing, StoreUnavailable, UnknownPupil
from templates_store.lease import LeaseStanding
from templates_store.store import Erasure, PupilRecord, StoredReference
from terminal.devices import LearntHand, TerminalStore
from terminal.identification import CALENDAR_DOCUMENT
from terminal.pass_records import PassRecords
from terminal.prepaid import Prepaid

_log = logging.getLogger("canteen.terminal.orders")

DEVICES_DOCUMENT = "devices"
_AT_ONCE_S = 0.05
"""Orders are applied between two pupils: this long at most, then the lane looks at its queue again."""
_TEND_EVERY_S = 60.0
_PAUSE_S = 5.0
"""After a box, store or journal that does not answer."""


_REFUSED_BY_STORE: dict[type[Exception], str] = {
    UnknownPupil: "unknown-pupil",
    CodeTaken: "code-taken",
    ConsentMissing: "no-consent",
}


class _Refused(Exception):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class OrderDesk:
    """Applies what waits in the order box."""

    def __init__(
        self,
        device: DeviceId,
        box: OrderBox,
        store: TerminalStore,
        records: PassRecords,
        clock: Clock,
        server_key: VerifyingKey,
        opening_key: OpeningKey,
        calendar_changed: Callable[[], None],
        devices_changed: Callable[[], None],
        prepaid: Prepaid,
        first_balances: Callable[[], None],
        carried_over: Callable[[StoredReference, bytes, bytes], LearntHand | None],
    ) -> None:
        self._device, self._box, self._store = device, box, store
        self._records, self._clock = records, clock
        self._server_key, self._opening_key = server_key, opening_key
        self._calendar_changed, self._devices_changed = calendar_changed, devices_changed
        self._prepaid, self._first_balances = prepaid, first_balances
        self._carried_over = carried_over
        self._not_before_s = self._tend_at_s = 0.0
        self._standing = LeaseStanding.HOLDS
        self._answered = 0
        """The order whose answer is in the journal while the box may still hold it."""

    def finish_interrupted(self, decided_in_journal: int | None) -> None:
        """Take from the box the one order that the journal already answers, left there by a kill.

        Only the very next one: an older number in the journal says nothing of a box that was made anew.
        """
        if decided_in_journal is not None and decided_in_journal == self._box.done_up_to + 1:
            self._answered = decided_in_journal
            self._box.mark_done(decided_in_journal)

    def apply_waiting(self) -> bool:
        """Apply what waits, for a moment; whether more waits."""
        started_s = self._clock.monotonic_s()
        if started_s < self._not_before_s:
            return False
        stop_at_s = time.monotonic() + _AT_ONCE_S
        try:
            self._records.put_on_record()
            while time.monotonic() < stop_at_s:
                if not self.apply_next():
                    self._tend_lease(started_s)
                    return False
        except (OrderBoxUnavailable, StoreUnavailable, JournalUnavailable) as error:
            # The order stays in the box: nothing was told to the journal yet.
            _log.warning("orders wait: %s", type(error).__name__)
            self._not_before_s = started_s + _PAUSE_S
            return False
        return True

    def _tend_lease(self, now_s: float) -> None:
        """Only when nothing waits: a fresh lease in the box is to be heard before the old one ends."""
        if now_s < self._tend_at_s:
            return
        self._tend_at_s = now_s + _TEND_EVERY_S
        standing = self._store.tend(self._clock.utc_now())
        if standing is not self._standing:
            self._standing = standing
            _log.warning("the lease: %s", standing.value)
        ended = self._store.ended_lease()
        if ended is not None:
            # Killed between the two, it is told twice: the station then seals twice, and the terminal takes one.
            self._records.write([ReferencesDestroyed(**asdict(ended))])
            self._store.note_ended_lease_told()

    def apply_next(self) -> bool:
        """Apply or refuse the order whose turn it is; False when none waits.

        Raises:
            OrderBoxUnavailable, StoreUnavailable, JournalUnavailable: it stays where it is.
        """
        number = self._box.done_up_to + 1
        if number == self._answered:
            self._box.mark_done(number)
            return True
        issued_at = None
        try:
            order = self._box.next_waiting()
            if order is None:
                return False
            issued_at = order.issued_at
            opened = self._opened(order, number)
            self._store.note_signed_time(order.issued_at, self._clock.utc_now())
            facts = self._apply(opened)
        except MalformedMessage:
            self._answer(number, [OrderRefused(number, "malformed", issued_at)])
        except _Refused as refusal:
            self._answer(number, [OrderRefused(number, refusal.why, issued_at)])
        else:
            self._answer(number, [*facts, OrderApplied(number, issued_at)])
        return True

    def _answer(self, number: int, facts: list[Fact]) -> None:
        self._records.write(facts)
        self._answered = number
        self._box.mark_done(number)
        for fact in facts:
            if isinstance(fact, OrderRefused):
                _log.warning("order %d refused: %s", number, fact.why)

    def _opened(self, order: SignedOrder, number: int) -> Order:
        """The order itself, if it is the server's, for us, and in its place."""
        try:
            order.verify(self._server_key)
        except BadSignature:
            raise _Refused("bad-signature") from None
        if order.device != self._device:
            raise _Refused("another-device")
        if order.number != number:
            raise _Refused("another-number")
        try:
            return order.open(self._opening_key)
        except SealBroken:
            raise _Refused("seal-broken") from None

    def _apply(self, order: Order) -> list[Fact]:
        """Do it; the facts that it gives rise to beside OrderApplied."""
        try:
            match order:
                case Roster():
                    self._store.put_pupils([_record(pupil) for pupil in order.pupils], whole=order.whole)
                case CalendarOrder():
                    self._store.put_document(CALENDAR_DOCUMENT, write_order(order))
                    self._calendar_changed()
                case BalancesOrder():
                    if self._prepaid.take(order):
                        self._first_balances()
                case DevicesOrder():
                    self._store.put_document(DEVICES_DOCUMENT, write_order(order))
                    self._devices_changed()
                case CardAssigned():
                    self._store.put_card(order.card, order.pupil)
                case CardBlocked():
                    self._store.block_card(order.card)
                case ReferenceOrder():
                    self._keep_reference(order)
                case LeaseOrder():
                    self._store.renew_lease(order.until)
                case PurgeOrder():
                    return [self._purge(order)]
                case SealAgainOrder():
                    raise _Refused("not-for-a-terminal")
        except (UnknownPupil, CodeTaken, ConsentMissing) as error:
            raise _Refused(_REFUSED_BY_STORE[type(error)]) from None
        return []

    def _keep_reference(self, order: ReferenceOrder) -> None:
        station = self._station(order.station)
        try:
            grant = open_reference(order.sealed, station.device, self._device, station.verifying_key, self._opening_key)
        except SealBroken:
            raise _Refused("reference-seal-broken") from None
        except BadSignature:
            raise _Refused("reference-not-of-station") from None
        except MalformedMessage:
            raise _Refused("reference-malformed") from None
        if (grant.pupil, grant.revision) != (order.pupil, order.revision):
            # The station signed this hand for somebody else: the server must not lay it under another name.
            raise _Refused("reference-of-another")
        if self._store.believed_time(self._clock.utc_now()) >= grant.dies_at:
            # Held back on the way, by whomever: its pupil may be gone. The station seals again what still stands.
            raise _Refused(REFERENCE_EXPIRED)
        learnt = self._learnt_before(grant)
        self._store.put_reference(grant.pupil, grant.revision, grant.consent, grant.reference)
        if learnt is not None:
            # A cut in between leaves the enrolment alone, which grows again.
            follows = StoredReference(grant.pupil, grant.revision, grant.consent, learnt.reference)
            self._store.adapt_reference(follows, learnt.memory, self._clock.utc_now())

    def _learnt_before(self, grant: ReferenceGrant) -> LearntHand | None:
        """A splint put on or taken off sends the same enrolment again: what was learnt of it stays."""
        held = self._store.reference(grant.pupil, self._clock.utc_now())
        if not isinstance(held, StoredReference) or grant.revision <= held.revision:
            return None
        memory = self._store.adaptation_history(held)
        return None if memory is None else self._carried_over(held, memory, grant.reference)

    def _station(self, station: DeviceId) -> DeviceEntry:
        document = self._store.document(DEVICES_DOCUMENT)
        directory = None if document is None else read_order(document)
        if isinstance(directory, DevicesOrder):
            for entry in directory.devices:
                if entry.device == station and entry.role is DeviceRole.STATION:
                    return entry
        raise _Refused("unknown-station")

    def _purge(self, order: PurgeOrder) -> PurgeReceipt:
        if order.scope is PurgeScope.EVERYTHING:
            self._prepaid.forget(order.pupil)
        outcome = self._store.purge(order.pupil, Erasure(order.scope.value), order.consents_until)
        if outcome.epoch_before == outcome.epoch_after:
            # Nothing was held: a kill may have struck between an earlier erasure and its receipt, which is this one.
            outcome = self._store.last_erasure(order.pupil) or outcome
        return receipt_of(
            order, self._clock.utc_now(), outcome.record_digest, outcome.epoch_before, outcome.epoch_after
        )


def _record(pupil: RosterPupil) -> tuple[PupilRecord, PersonalCode]:
    record = PupilRecord(pupil.pupil, pupil.first_name, pupil.last_name, pupil.class_name, pupil.entitlements)
    return record, pupil.code
