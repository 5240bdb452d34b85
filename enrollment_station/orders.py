"""The server's orders as the station carries them out: verified, opened, applied, answered for, and only then done.

Killed anywhere in between, the same order is applied again: every one is idempotent. An order that cannot be carried
out is refused with a short code and never stands in the way of the next.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from canteen.identifiers import DeviceId
from enrollment_station.advice import Advice, AdviceList
from enrollment_station.audit_log import AuditLog
from enrollment_station.consents import ConsentDesk
from enrollment_station.dispatch import ReferenceDispatch
from enrollment_station.errors import AuditUnavailable, LeaseOver
from enrollment_station.recording import Recorder
from sync.errors import BadSignature, JournalUnavailable, MalformedMessage, OrderBoxUnavailable, SealBroken
from sync.facts import Fact, FactKind, OrderApplied, OrderRefused, PurgeReceipt
from sync.messages import SignedOrder
from sync.order_bodies import write_order
from sync.order_box import OrderBox
from sync.orders import (
    BalancesOrder,
    CalendarOrder,
    CardAssigned,
    CardBlocked,
    DevicesOrder,
    EnrollmentAdvice,
    LeaseOrder,
    Order,
    PurgeOrder,
    ReferenceOrder,
    Roster,
    SealAgainOrder,
)
from sync.purge_request import receipt_of
from sync.retention import Retention
from sync.sealing import OpeningKey
from sync.signing import VerifyingKey
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import CodeTaken, StoreUnavailable, UnknownPupil
from templates_store.reserve import Reserve
from templates_store.store import Erasure, PupilRecord

CALENDAR_DOCUMENT = "calendar"
POLL_S = 0.1
"""How often the box is looked into: an operator sees a pupil of the roster appear at once."""

_RETRY_S = 2.0
"""After a full disk or a locked file: often enough for people, seldom enough for the log."""

_LOOK_BACK = 200
"""Entries at the journal's end among which the answer to the order in hand may already stand after a kill."""

_log = logging.getLogger("canteen.station.orders")

BAD_SIGNATURE = "bad-signature"
OTHER_DEVICE = "other-device"
SEAL_BROKEN = "seal-broken"
MALFORMED = "malformed"
CODE_TAKEN = "code-taken"
UNKNOWN_PUPIL = "unknown-pupil"
NOT_FOR_STATION = "not-for-a-station"
LEASE_OVER = "lease-over"
INTERNAL = "internal-error"

_REFUSED_FOR: dict[type[Exception], str] = {UnknownPupil: UNKNOWN_PUPIL, LeaseOver: LEASE_OVER, CodeTaken: CODE_TAKEN}


class _NotCarriedOut(Exception):
    """An order is refused; the message is the code of why."""


@dataclass(frozen=True, slots=True)
class OrderApplier:
    """Takes the orders out of the box, one after the other."""

    device: DeviceId
    box: OrderBox
    store: EncryptedStore
    recorder: Recorder
    dispatch: ReferenceDispatch
    consents: ConsentDesk
    advice: AdviceList
    audit: AuditLog
    server: VerifyingKey
    lock: threading.RLock
    retention: Retention
    reserve: Reserve
    opening_key: OpeningKey = field(repr=False)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. What is broken just now is tried again."""
        begun = False
        while not stop.is_set():
            self.reserve.keep()
            try:
                if not begun:
                    self.begin()
                    begun = True
                self.recorder.put_on_record()
                wait_s = 0.0 if self.apply_next() else POLL_S
                if wait_s:
                    self.retention.keep()
                    self.audit.keep(self.store.certain_time())
            except (
                StoreUnavailable,
                JournalUnavailable,
                OrderBoxUnavailable,
                AuditUnavailable,
                MalformedMessage,
            ) as error:
                _log.error("orders wait: %s", error)
                wait_s = _RETRY_S
            stop.wait(wait_s)

    def begin(self) -> None:
        """Finishes what the last run left half done, and skips the order it had answered for but not struck out."""
        number = self.box.done_up_to + 1
        journal = self.recorder.journal
        answers = {FactKind.ORDER_APPLIED, FactKind.ORDER_REFUSED}
        for entry in journal.entries_after(max(0, journal.last_sequence - _LOOK_BACK), _LOOK_BACK):
            if entry.kind in answers and entry.body.get("number") == number:
                self.box.mark_done(number)
                break
        self.consents.finish()
        self.dispatch.finish()

    def apply_next(self) -> bool:
        """Deal with the order whose turn it is; False if none waits.

        Raises:
            StoreUnavailable, JournalUnavailable, OrderBoxUnavailable: try again later; the order stays.
        """
        number = self.box.done_up_to + 1
        try:
            signed = self.box.next_waiting()
        except MalformedMessage:
            self._answer(number, [OrderRefused(number, MALFORMED)])
            return True
        if signed is None:
            return False
        self._answer(number, self._carry_out(signed))
        self.dispatch.finish()
        return True

    def _answer(self, number: int, facts: list[Fact]) -> None:
        self.recorder.record(*facts)
        self.box.mark_done(number)

    def _carry_out(self, signed: SignedOrder) -> list[Fact]:
        """The facts that answer the order."""
        try:
            with self.lock:
                facts = self._apply(self._open(signed))
        except _NotCarriedOut as refusal:
            why = str(refusal)
        except (StoreUnavailable, JournalUnavailable, OrderBoxUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - one order must not stop the following ones, whatever is wrong with it
            _log.error("order %d: %s", signed.number, type(error).__name__)
            why = INTERNAL
        else:
            return [*facts, OrderApplied(signed.number, signed.issued_at)]
        _log.warning("order %d refused: %s", signed.number, why)
        return [OrderRefused(signed.number, why, signed.issued_at)]

    def _open(self, signed: SignedOrder) -> Order:
        if signed.device != self.device:
            raise _NotCarriedOut(OTHER_DEVICE)
        try:
            signed.verify(self.server)
            self.store.note_signed_time(signed.issued_at, self.recorder.now())
            return signed.open(self.opening_key)
        except BadSignature as error:
            raise _NotCarriedOut(BAD_SIGNATURE) from error
        except SealBroken as error:
            raise _NotCarriedOut(SEAL_BROKEN) from error
        except MalformedMessage as error:
            raise _NotCarriedOut(MALFORMED) from error

    def _apply(self, order: Order) -> list[Fact]:
        try:
            match order:
                case Roster():
                    self._take_roster(order)
                case CalendarOrder():
                    self.store.put_document(CALENDAR_DOCUMENT, write_order(order))
                case DevicesOrder():
                    self.dispatch.take_directory(order)
                case CardAssigned():
                    self.store.put_card(order.card, order.pupil)
                case CardBlocked():
                    self.store.block_card(order.card)
                case LeaseOrder():
                    self.store.renew_lease(order.until)
                case PurgeOrder():
                    return [self._purge(order)]
                case SealAgainOrder():
                    return list(self.dispatch.seal_again(order.terminal, order.pupils))
                case EnrollmentAdvice():
                    self.advice.put(order.pupil, Advice(order.revision))
                case ReferenceOrder() | BalancesOrder():
                    raise _NotCarriedOut(NOT_FOR_STATION)
        except tuple(_REFUSED_FOR) as error:
            raise _NotCarriedOut(_REFUSED_FOR[type(error)]) from error
        return []

    def _take_roster(self, order: Roster) -> None:
        self.store.put_pupils(
            [
                (PupilRecord(p.pupil, p.first_name, p.last_name, p.class_name, p.entitlements), p.code)
                for p in order.pupils
            ],
            whole=order.whole,
        )
        self.advice.tidy()

    def _purge(self, order: PurgeOrder) -> PurgeReceipt:
        outcome = self.store.purge(order.pupil, Erasure(order.scope.value), order.consents_until)
        if outcome.epoch_before == outcome.epoch_after:
            # Nothing held any more: erased at the form's withdrawal, or just before a kill. The receipt still names it.
            outcome = self.store.last_erasure(order.pupil) or outcome
        self.advice.tidy()
        return receipt_of(order, self.recorder.now(), outcome.record_digest, outcome.epoch_before, outcome.epoch_after)
