"""What is held of one pupil's hand: the usual reference, how it has grown, and what stands in for it for a while.

A finger in a splint, the other hand, or no hand at all (a plaster) may take the usual reference's place through a last
day; then it is compared again by itself, without a word from anybody. Plain references are held as they are; one with a
stand-in begins with 16, which no plain reference does; big-endian: that byte, flags (1: bit 0 usual, bit 1 stand-in),
last day (2: days since 2000-01-01), then each reference that is there with its length (2) before it. What a terminal
remembers beside it is one byte (bit 0: an enrolment was advised) and a history.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from hand_geometry.acquisition import Features
from hand_geometry.adaptation import AdaptationHistory, adapt, decode_history, encode_history, start_history
from hand_geometry.comparison import Threshold, compare, decide
from hand_geometry.errors import ReferenceFormatError
from hand_geometry.reference import Reference
from hand_geometry.reference_codec import (
    LARGEST_REFERENCE_BYTES,
    decode_reference,
    encode_reference,
)

HELD_VERSION = 16
LARGEST_HELD_BYTES = 2 * LARGEST_REFERENCE_BYTES + 8
_HEAD = struct.Struct(">BBH")
_LENGTH = struct.Struct(">H")
_DAY_ZERO = date(2000, 1, 1)
_USUAL, _STAND_IN = 1, 2


@dataclass(frozen=True, eq=False)
class HeldHand:
    """Everything held of one pupil's hand.

    Attributes:
        usual: What is compared as a rule; None where only a stand-in was ever taken.
        history: How ``usual`` has followed the hand; terminals alone have it.
        stand_in: What is compared through ``until``; None there: no hand is, the pupil passes by card.
        until: The last day of the stand-in or of the rest; None where there is neither.
        advised: Whether a new enrolment was advised already.
    """

    usual: Reference | None
    history: AdaptationHistory | None = None
    stand_in: Reference | None = None
    until: date | None = None
    advised: bool = False

    def on(self, today: date) -> Reference | None:
        """What is compared on a day; None: nothing."""
        held = self.stand_in if self.until is not None and today <= self.until else self.usual
        return held if held is not None and held.mask.in_force(today) else None

    def encoded(self) -> bytes:
        """The references, as few bytes; raises ReferenceFormatError for a day that cannot be written."""
        if self.until is None:
            if self.usual is None:
                raise ReferenceFormatError("nothing is held")
            return encode_reference(self.usual)
        last = (self.until - _DAY_ZERO).days
        if not 0 < last <= 65535:
            raise ReferenceFormatError("a last day that cannot be written")
        flags, bodies = 0, b""
        for flag, reference in ((_USUAL, self.usual), (_STAND_IN, self.stand_in)):
            if reference is not None:
                part = encode_reference(reference)
                flags, bodies = flags | flag, bodies + _LENGTH.pack(len(part)) + part
        return _HEAD.pack(HELD_VERSION, flags, last) + bodies

    def remembered(self) -> bytes | None:
        """The rest of it: what the terminal remembers beside the references."""
        return None if self.history is None else bytes([self.advised]) + encode_history(self.history)


def decode_held(untrusted_bytes: bytes, untrusted_memory: bytes | None = None) -> HeldHand:
    """Reads a plain reference or what ``HeldHand.encoded`` and ``HeldHand.remembered`` wrote.

    Raises:
        ReferenceFormatError: Anything else was given.
    """
    held = _decode_references(untrusted_bytes)
    if untrusted_memory is None:
        return held
    if untrusted_memory[:1] not in (b"\x00", b"\x01") or held.usual is None:
        raise ReferenceFormatError("a memory that belongs to nothing")
    return replace(held, history=decode_history(untrusted_memory[1:]), advised=untrusted_memory[0] == 1)


def _decode_references(untrusted_bytes: bytes) -> HeldHand:
    if untrusted_bytes[:1] != bytes([HELD_VERSION]):
        return HeldHand(decode_reference(untrusted_bytes))
    if not _HEAD.size <= len(untrusted_bytes) <= LARGEST_HELD_BYTES:
        raise ReferenceFormatError("not the length of a held hand")
    _, flags, last = _HEAD.unpack_from(untrusted_bytes)
    if flags > _USUAL | _STAND_IN or not flags or not last:
        raise ReferenceFormatError("fields that no held hand has")
    parts: dict[int, Reference] = {}
    rest = untrusted_bytes[_HEAD.size :]
    for flag in (_USUAL, _STAND_IN):
        if flags & flag:
            (length,) = _LENGTH.unpack_from(rest) if len(rest) >= _LENGTH.size else (0,)
            parts[flag] = decode_reference(rest[_LENGTH.size : _LENGTH.size + length])
            rest = rest[_LENGTH.size + length :]
    if rest:
        raise ReferenceFormatError("bytes after the last part")
    until = _DAY_ZERO + timedelta(days=last)
    return HeldHand(parts.get(_USUAL), stand_in=parts.get(_STAND_IN), until=until)


@dataclass(frozen=True, eq=False)
class HeldComparison:
    """What a probe came to.

    Attributes:
        matched: None where nothing is compared that day.
        wrong_hand: Whether the other hand lay there.
        held: What to keep from now on in place of what was compared; None: as it is.
        advises_enrollment: Whether staff should take this hand anew soon; said once a reference.
    """

    matched: bool | None
    wrong_hand: bool = False
    held: HeldHand | None = None
    advises_enrollment: bool = False


def compare_held(
    held: HeldHand,
    probe: Features,
    now: datetime,
    today: date,
    threshold: Threshold,
    *,
    enrolled_at: datetime,
    first_try: bool,
) -> HeldComparison:
    """Compares, and lets the usual reference follow the hand where it may (see ``adaptation``).

    Args:
        held: What is held.
        probe: What lies on the platen.
        now: Aware, of a clock that is trusted.
        today: The school's day.
        threshold: The school's.
        enrolled_at: When the usual reference was made, for one without a history.
        first_try: Whether it is the pupil's first try of this pass.

    Raises:
        FittedNumbersError, UnlikeReadersError: As ``comparison.compare``.
    """
    reference = held.on(today)
    if reference is None:
        return HeldComparison(None)
    score = compare(reference, probe, today=today)
    if not decide(score, threshold):
        return HeldComparison(matched=False, wrong_hand=probe.mirrored is not reference.mirrored)
    if reference is not held.usual:
        return HeldComparison(matched=True)
    history = held.history or start_history(reference, enrolled_at)
    outcome = adapt(reference, probe, score, now, history, first_try=first_try, threshold=threshold)
    advises = outcome.invites_enrollment and not held.advised
    kept = replace(
        held, usual=outcome.reference, history=outcome.history, advised=held.advised or outcome.invites_enrollment
    )
    return HeldComparison(matched=True, held=kept, advises_enrollment=advises)


def carried_over(before: HeldHand, coming: HeldHand) -> HeldHand:
    """What to hold when the station sends again what it enrolled: a splint on or off leaves the growth that was learnt.

    A usual reference that was enrolled anew has no history: then what comes is held as it is.
    """
    if before.history is None or before.usual is None or coming.usual is None or coming.history is not None:
        return coming
    if encode_reference(before.history.enrolled) != encode_reference(coming.usual):
        return coming
    return replace(coming, usual=before.usual, history=before.history, advised=before.advised)


def enrolled_about(revision: int, now: datetime) -> datetime:
    """When a reference was made, by its revision, which a station takes from the time; ``now`` where it is no time."""
    try:
        made = datetime.fromtimestamp(revision, UTC)
    except (OverflowError, OSError, ValueError):
        return now
    return made if now - LONGEST_SCHOOLING < made <= now else now


# Nobody stays longer at a collège and a lycée; an older revision was not a time.
LONGEST_SCHOOLING = timedelta(days=8 * 366)
