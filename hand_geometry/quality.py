"""Why a picture or a set of samples cannot be used, as values that a pupil or an operator can act on."""

from __future__ import annotations

from enum import StrEnum


class QualityReason(StrEnum):
    """One reason each; the screens turn them into sentences."""

    NO_HAND = "no_hand"
    FINGERS_CLOSED = "fingers_closed"
    FINGER_MISSING = "finger_missing"
    HAND_CUT_OFF = "hand_cut_off"
    WRONG_HAND = "wrong_hand"
    BLURRED = "blurred"
    UNREADABLE_IMAGE = "unreadable_image"
    SAMPLES_DISAGREE = "samples_disagree"
    TOO_FEW_SAMPLES = "too_few_samples"
    IMPLAUSIBLE_MEASUREMENT = "implausible_measurement"
    DEVICE_LOST = "device_lost"
    CANCELLED = "cancelled"
