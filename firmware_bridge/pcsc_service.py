"""The PC/SC daemon as this project needs it: which readers there are, what changed on one, and the way to its card.

pyscard's plain calls are used, not its monitor classes: their threads end silently when the daemon restarts. Every call
here either returns, raises one of our errors, or blocks; `pcsc_reader` watches over the last.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from smartcard import scard

from firmware_bridge.desfire import CardChannel
from firmware_bridge.devices import ReaderLossReason
from firmware_bridge.errors import CardLost, ReaderUnavailable

VIRTUAL_READERS = ("Virtual PCD",)
"""Names of readers that only tests and demonstrations have."""
_NO_CONTACTLESS = ("SAM", "ICC 1")
"""Slots for contact cards and security modules, which some readers list before the one in the lid."""
_ANSWER_MAX = 4096
_POLL_S = 0.05
_SERVICE_GONE = {
    scard.SCARD_E_NO_SERVICE,
    scard.SCARD_E_SERVICE_STOPPED,
    scard.SCARD_E_INVALID_HANDLE,
    scard.SCARD_F_COMM_ERROR,
    scard.SCARD_F_INTERNAL_ERROR,
}
_READER_GONE = {scard.SCARD_E_UNKNOWN_READER, scard.SCARD_E_READER_UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class Presence:
    """What is on the reader.

    Attributes:
        card: whether a card lies there.
        changes: the daemon's count of insertions and removals: a card exchanged between two looks changes it by two.
        raw: the state as the daemon wants it back.
    """

    card: bool
    changes: int
    raw: int


UNAWARE = Presence(card=False, changes=-1, raw=scard.SCARD_STATE_UNAWARE)
"""Before the first look."""


class SmartCardService(Protocol):
    """One connection to the daemon; used by one thread."""

    def readers(self) -> list[str]:
        """Names of the readers plugged in now.

        Raises:
            ReaderUnavailable: the daemon is gone.
        """
        ...

    def wait(self, reader: str, known: Presence, timeout_s: float) -> Presence:
        """What is on the reader once it differs from `known`, or after `timeout_s`.

        Raises:
            ReaderUnavailable: the daemon or the reader is gone.
        """
        ...

    def connect(self, reader: str) -> contextlib.AbstractContextManager[CardChannel]:
        """The way to the card that lies there, for the length of a `with`, to us alone.

        Raises:
            CardLost: there is none, or it does not wake up.
            ReaderUnavailable: the daemon or the reader is gone.
        """
        ...

    def close(self) -> None: ...


class PcscService:
    """The real daemon."""

    def __init__(self) -> None:
        """Connect.

        Raises:
            ReaderUnavailable: no daemon answers.
        """
        result, self._context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
        if result != scard.SCARD_S_SUCCESS:
            raise ReaderUnavailable(ReaderLossReason.NO_SERVICE)

    def readers(self) -> list[str]:
        """Names of the readers plugged in now."""
        result, names = scard.SCardListReaders(self._context, [])
        if result == scard.SCARD_E_NO_READERS_AVAILABLE:
            return []
        if result != scard.SCARD_S_SUCCESS:
            raise ReaderUnavailable(ReaderLossReason.NO_SERVICE)
        return list(names)

    def wait(self, reader: str, known: Presence, timeout_s: float) -> Presence:
        """What is on the reader once it differs from `known`, or after `timeout_s`."""
        result, states = scard.SCardGetStatusChange(self._context, round(timeout_s * 1000), [(reader, known.raw)])
        if result in _READER_GONE:
            raise ReaderUnavailable(ReaderLossReason.NO_READER)
        if result not in {scard.SCARD_S_SUCCESS, scard.SCARD_E_TIMEOUT} or len(states) != 1:
            raise ReaderUnavailable(ReaderLossReason.NO_SERVICE)
        raw = states[0][1]
        if raw & (scard.SCARD_STATE_UNKNOWN | scard.SCARD_STATE_UNAVAILABLE):
            raise ReaderUnavailable(ReaderLossReason.NO_READER)
        card = bool(raw & scard.SCARD_STATE_PRESENT)
        return Presence(card, raw >> 16, raw & ~scard.SCARD_STATE_CHANGED)

    @contextlib.contextmanager
    def connect(self, reader: str) -> Iterator[CardChannel]:
        """The way to the card that lies there."""
        result, card, protocol = scard.SCardConnect(
            self._context, reader, scard.SCARD_SHARE_EXCLUSIVE, scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        )
        if result in _SERVICE_GONE:
            raise ReaderUnavailable(ReaderLossReason.NO_SERVICE)
        if result in _READER_GONE:
            raise ReaderUnavailable(ReaderLossReason.NO_READER)
        if result != scard.SCARD_S_SUCCESS:
            raise CardLost("no card, or it does not wake up")
        try:
            yield _PcscChannel(card, protocol)
        finally:
            # Left powered: a reset makes some readers report the card as taken away and put back.
            scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)

    def close(self) -> None:
        """Let the daemon go; harmless when it is gone already."""
        scard.SCardReleaseContext(self._context)


class _PcscChannel:
    """One card, connected."""

    def __init__(self, card: int, protocol: int) -> None:
        self._card = card
        self._protocol = scard.SCARD_PCI_T0 if protocol == scard.SCARD_PROTOCOL_T0 else scard.SCARD_PCI_T1

    def transmit(self, apdu: bytes) -> bytes:
        """Send one command and wait for its answer."""
        result, untrusted = scard.SCardTransmit(self._card, self._protocol, list(apdu))
        if result != scard.SCARD_S_SUCCESS:
            raise CardLost("the card or the reader is gone")
        if not 2 <= len(untrusted) <= _ANSWER_MAX:
            # Some drivers call it a success when the card has gone, and hand over nothing.
            raise CardLost("no answer of a card's length")
        return bytes(byte & 0xFF for byte in untrusted)


def choose_reader(names: list[str], wanted: str | None) -> str:
    """The reader whose name contains `wanted`; without a wish, the first that is not for contact cards.

    Raises:
        ReaderUnavailable: there is none.
    """
    if wanted is not None:
        fitting = [name for name in names if wanted in name]
    else:
        fitting = [name for name in names if not any(slot in name for slot in _NO_CONTACTLESS)] or names
    if not fitting:
        raise ReaderUnavailable(ReaderLossReason.NO_READER)
    return fitting[0]


@contextlib.contextmanager
def card_on_reader(
    wanted: str | None,
    timeout_s: float,
    open_service: Callable[[], SmartCardService] = PcscService,
) -> Iterator[CardChannel]:
    """The next card on a reader, for the station's encoder: waits for one at most `timeout_s`.

    Raises:
        CardLost: nobody put a card there in time.
        ReaderUnavailable: no daemon or no reader.
    """
    end_s = time.monotonic() + timeout_s
    with contextlib.closing(open_service()) as service:
        reader = choose_reader(service.readers(), wanted)
        presence = UNAWARE
        while not presence.card:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise CardLost("no card was presented in time")
            presence = service.wait(reader, presence, max(_POLL_S, min(left_s, 0.25)))
        with service.connect(reader) as channel:
            yield channel
