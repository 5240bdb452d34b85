"""Why a picture or a set of samples cannot be used, as values that a pupil or an operator can act on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class QualityReason(StrEnum):
    """One reason each; the screens turn them into sentences."""

    NO_HAND = "no_hand"
    FINGERS_CLOSED = "fingers_closed"
    FINGER_MISSING = "finger_missing"
    HAND_CUT_OFF = "hand_cut_off"
    WRONG_HAND = "wrong_hand"
    UNREADABLE_IMAGE = "unreadable_image"
    SAMPLES_DISAGREE = "samples_disagree"
    TOO_FEW_SAMPLES = "too_few_samples"
    IMPLAUSIBLE_MEASUREMENT = "implausible_measurement"
    FLAT_THING = "flat_thing"
    EVEN_HEIGHT = "even_height"
    WEB_HIDDEN = "web_hidden"
    DEVICE_LOST = "device_lost"
    CANCELLED = "cancelled"


# No finding is asked for beside these: where a flat thing is pale helps nobody, and a web in the shadow, which has its
# place already, would look like a touch.
SAID_ALONE = frozenset({QualityReason.FLAT_THING, QualityReason.EVEN_HEIGHT, QualityReason.WEB_HIDDEN})


class Finding(StrEnum):
    """What a pupil or a caretaker can act on, seen at one place in the picture."""

    FINGERS_TOUCHING = "fingers_touching"
    FINGER_MISSING = "finger_missing"
    HAND_TOO_FAR_IN = "hand_too_far_in"
    HAND_TOO_FAR_OUT = "hand_too_far_out"
    WRONG_HAND = "wrong_hand"
    SLEEVE = "sleeve"
    RING = "ring"
    BLURRED = "blurred"
    GLARE = "glare"
    DIRTY_PLATEN = "dirty_platen"
    HAND_LEAVING = "hand_leaving"
    WEB_HIDDEN = "web_hidden"


@dataclass(frozen=True)
class OnHand:
    """A place on a hand: radii of the palm from its middle, to the right and towards the fingers, as these point up.

    ``thumb_right`` says which way the hand is turned, seen so.
    """

    across: float
    along: float
    thumb_right: bool


@dataclass(frozen=True)
class PlacedFinding:
    """A finding and where the screen points: x to the right and y downwards, both in 0..1 of the picture.

    ``on_hand`` is the same on a hand drawn for everybody, where the outline says which way it lies.
    """

    finding: Finding
    x: float
    y: float
    on_hand: OnHand | None = field(default=None, compare=False)
