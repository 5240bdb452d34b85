"""A finger that is missing or under a bandage: measured where the mask says so, and refused where it does not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hand_geometry.acquisition import FailureToAcquire, Features, Seen, acquire, looked_at
from hand_geometry.comparison import NOT_COMPARABLE, compare, decide
from hand_geometry.findings import find_findings
from hand_geometry.landmarks import Finger
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.masked_numbers import SUPPORTED_MASKS
from hand_geometry.measurements import FEATURE_NAMES
from hand_geometry.painted_fingers import without_fingers
from hand_geometry.quality import Finding, QualityReason
from hand_geometry.reference import FailureToEnroll, Reference, make_reference
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_people import PLAIN, Look, draw_person, picture_of
from hand_geometry.working_picture import WorkingPicture


@cache
def laid(identity: int, sample: int, look: Look, mask: Mask) -> Features | FailureToAcquire:
    """One placement of a drawn person."""
    return acquire(picture_of(draw_person(identity), sample, look), mask=mask)


def measured(identity: int, sample: int, look: Look, mask: Mask) -> Features:
    """The same, which must be measurable."""
    seen = laid(identity, sample, look, mask)
    assert isinstance(seen, Features), (identity, sample, seen)
    return seen


def enrolled(identity: int, look: Look, mask: Mask) -> Reference:
    made = make_reference([measured(identity, sample, look, mask) for sample in range(3)], mask=mask)
    assert isinstance(made, Reference)
    return made


@pytest.mark.parametrize("mask", SUPPORTED_MASKS)
def test_a_hand_without_these_fingers(mask: Mask) -> None:
    """Pins that the pupil is enrolled and passes, and that no whole hand and no other hand like it does."""
    missing = Look(missing=tuple(int(finger) for finger in mask.left_out))
    reference = enrolled(3, missing, mask)
    assert decide(compare(reference, measured(3, 5, missing, mask)))
    assert not decide(compare(reference, measured(4, 5, missing, mask)))
    assert not decide(compare(reference, measured(4, 5, PLAIN, mask)))


@pytest.mark.parametrize("finger", Finger)
def test_a_bandaged_finger(finger: Finger) -> None:
    """Pins that a bandage half as wide again as the finger, tip and all, may be wound anew before every placement."""
    mask, bandaged = Mask.without([finger]), Look(bandaged=int(finger))
    reference = enrolled(3, bandaged, mask)
    assert decide(compare(reference, measured(3, 5, bandaged, mask)))
    assert not decide(compare(reference, measured(4, 5, bandaged, mask)))


def test_without_a_mask_it_is_said_where_a_finger_is_missing() -> None:
    """Pins that nothing changes for a pupil whose hand is whole: a finger bent away is no measurement."""
    image = picture_of(draw_person(3), 0, Look(missing=(2,)))
    assert FailureToAcquire(QualityReason.FINGERS_CLOSED) == acquire(image)
    assert [Finding.FINGER_MISSING] == [one.finding for one in find_findings(image)]
    assert () == find_findings(image, mask=Mask.without([Finger.MIDDLE]))


@pytest.mark.parametrize(
    ("missing", "masked"), [(2, Finger.RING), (3, Finger.MIDDLE), (1, Finger.LITTLE), (4, Finger.THUMB)]
)
def test_another_finger_is_missing_than_the_mask_says(missing: int, masked: Finger) -> None:
    """Pins that tips are not renamed to fit: such a hand is refused, or at least does not pass."""
    mask = Mask.without([masked])
    reference = enrolled(3, Look(missing=(int(masked),)), mask)
    seen = laid(3, 5, Look(missing=(missing,)), mask)
    assert isinstance(seen, FailureToAcquire) or not decide(compare(reference, seen))


def test_what_was_not_looked_at_is_not_compared() -> None:
    """Pins that a probe taken under a mask opens nothing that was enrolled without it, and enrolls nothing so."""
    mask = Mask.without([Finger.RING])
    seen = [measured(3, sample, PLAIN, mask) for sample in range(3)]
    assert NOT_COMPARABLE == compare(enrolled(3, PLAIN, NO_MASK), seen[0])
    assert FailureToEnroll(QualityReason.FINGER_MISSING, 0) == make_reference(seen)
    assert decide(compare(enrolled(3, PLAIN, mask), measured(3, 5, PLAIN, NO_MASK)))


def test_without_both_middle_fingers_a_splayed_hand_is_still_that_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that the feet are found on each finger's own axis, and the thumb where no gap is, however fingers spread."""
    monkeypatch.setattr("hand_geometry.synthetic_people.ANGLES_DEG", np.array([39.0, 3.5, 0.5, -7.5, -59.0]))
    mask = Mask.without([Finger.MIDDLE, Finger.RING])
    for identity in (2, 4):
        whole = acquire(picture_of(draw_person(identity), 0, PLAIN))
        seen = acquire(picture_of(draw_person(identity), 0, Look(missing=(2, 3))), mask=mask)
        assert isinstance(whole, Features)
        assert isinstance(seen, Features), (identity, seen)
        assert whole.mirrored is seen.mirrored
        lengths = [FEATURE_NAMES.index(f"{finger}_length_0") for finger in ("thumb", "index", "little")]
        assert 0.07 > float(np.abs(whole.values - seen.values)[lengths].max())


@pytest.mark.parametrize("mask", SUPPORTED_MASKS)
def test_fingers_painted_over_are_gone_and_nothing_else_is(mask: Mask) -> None:
    """Pins the pictures that figures about missing fingers are made of: like drawn stumps, the other fingers whole."""
    image = picture_of(draw_person(3), 0, PLAIN)
    whole = looked_at(WorkingPicture(image), Platen.DARK)
    assert isinstance(whole, Seen)
    painted = without_fingers(image, whole, mask.left_out, np.random.default_rng(1))
    assert isinstance(acquire(painted), FailureToAcquire)
    seen = looked_at(WorkingPicture(painted), Platen.DARK, mask=mask)
    assert isinstance(seen, Seen)
    for finger in Finger:
        tip = np.rint(whole.shape.tips_px[finger] + 8.0 * whole.shape.axes[finger]).astype(int)
        assert (finger not in mask.left_out) == (seen.silhouette.mask()[tip[1], tip[0]] > 127)
    widths = np.array(["_width_" in name for name in FEATURE_NAMES]) & mask.compared()
    assert 0.02 > float(np.median(np.abs(whole.features.values - seen.features.values)[widths]))
