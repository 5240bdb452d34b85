"""From a picture to the features of a hand: the stages in order, and nothing but values when it fails."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hand_geometry.contour import Contour, moved, trace_contour
from hand_geometry.hand_frame import find_frame
from hand_geometry.height_profile import height_features, measure_heights, no_hand_from_the_side
from hand_geometry.image_decoding import decode_image
from hand_geometry.landmarks import Finger, Landmarks, Palm, find_palm
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.masked_landmarks import find_masked_landmarks
from hand_geometry.measurements import FEATURE_NAMES, HandShape, features_of, measure
from hand_geometry.nails import with_whole_fingertips
from hand_geometry.platen import PlatenCalibration
from hand_geometry.plausibility import implausible, uneven
from hand_geometry.posture import Posture, posture_of
from hand_geometry.quality import Finding, PlacedFinding, QualityReason
from hand_geometry.reader_picture import picture_on
from hand_geometry.silhouette import Platen, Silhouette, find_silhouette
from hand_geometry.webs import THUMB_WEB, WEBS, hidden_webs, with_clear_webs
from hand_geometry.working_picture import WorkingPicture, is_picture

__all__ = ["FailureToAcquire", "Features", "Platen", "acquire", "decode_image"]


@dataclass(frozen=True, eq=False)
class Features:
    """What was measured of one hand in one picture.

    Attributes:
        values: (n,) float64 in the order of ``names``: logarithms of lengths and widths in px at the nominal size, and
            bends as parts of a finger's length.
        names: One name a value.
        platen: What the hand lay on; features of different platens are never compared.
        mirrored: False where it looks like a right palm turned to the camera, True where it looks like a left one.
        posture: Whether pegs guided the fingers.
        heights: (12,) float64, logarithms of mm along the hand (``height_profile``); None without a side mirror.
        in_mm: Whether a calibrated reader measured it; what was measured in px is never compared with it.
        left_out: Fingers that were not looked at; what hangs on them is 0 in ``values`` and must not be compared.
    """

    values: NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    platen: Platen
    mirrored: bool
    posture: Posture = Posture.FREE
    heights: NDArray[np.float64] | None = field(default=None, repr=False)
    in_mm: bool = False
    left_out: frozenset[Finger] = frozenset()


@dataclass(frozen=True)
class FailureToAcquire:
    """No features, and why (ISO/IEC 19795-1: failure to acquire).

    Attributes:
        reason: Why.
        places: What a screen can point at; ``findings.find_findings`` says more of a picture.
    """

    reason: QualityReason
    places: tuple[PlacedFinding, ...] = field(default=(), compare=False)


def acquire(
    image: NDArray[np.uint8],
    platen: Platen = Platen.DARK,
    *,
    mirrored: bool | None = None,
    calibration: PlatenCalibration | None = None,
    mask: Mask = NO_MASK,
) -> Features | FailureToAcquire:
    """Measures the hand in one picture.

    Args:
        image: (H, W, 3) or (H, W) uint8, BGR or grey, any orientation of the hand.
        platen: What the hand lies on.
        mirrored: Which hand is expected, as in ``Features.mirrored``; None takes either.
        calibration: What the camera learnt from the platen's sheet; measurements are then in mm, given in px of the
            nominal camera, so that references hold on every calibrated reader.
        mask: Which fingers need not be there.
    """
    if not is_picture(image) or (calibration is not None and not calibration.fits(image)):
        return FailureToAcquire(QualityReason.UNREADABLE_IMAGE)
    picture = WorkingPicture(image)
    reader = None
    if calibration is not None:
        reader = _Reader(calibration, picture)
        picture = picture_on(calibration, picture)
    seen = looked_at(picture, platen, mirrored, reader, mask)
    return seen if isinstance(seen, FailureToAcquire) else seen.features


# Reasons that may come from a shadow or from something beside the hand, so that a slower look can still find five
# fingers: it cuts off what is joined to the hand by less than this. A grown little finger is about 38 px wide.
WORTH_A_SECOND_LOOK = (
    QualityReason.FINGERS_CLOSED,
    QualityReason.HAND_CUT_OFF,
    QualityReason.IMPLAUSIBLE_MEASUREMENT,
)
SECOND_LOOKS_PX = (21, 33)

# Together a little more than a finger is long, seen from the first valley that was found.
WEB_STEPS = 3
# How far apart valleys may lie before that, in radii of the palm: a shadow fills a web to a third of a finger.
SHADED_SPREAD = 1.3


@dataclass(frozen=True, eq=False)
class _Reader:
    """A calibrated reader, and the picture as it came from it: with markers and mirror."""

    calibration: PlatenCalibration
    untouched: WorkingPicture

    def to_nominal(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) px in the picture to px as the nominal camera would see them, straight from above."""
        return self.calibration.to_nominal(points_px, self.untouched.shape[::-1])

    def straightened(self, contour: Contour, palm: Palm) -> tuple[Contour, Palm]:
        """Outline and palm as the nominal camera would see them."""
        disc = np.array([palm.centre_px, palm.centre_px + np.array([palm.radius_px, 0.0])])
        # All in one go: a few points take as long as a thousand.
        seen = self.to_nominal(np.concatenate([contour.points, disc]))
        centre, beside = seen[-2:]
        return moved(contour, seen[:-2]), Palm(centre, math.dist(centre, beside))


@dataclass(frozen=True, eq=False)
class Seen:
    """One picture after every stage, for a human to check; never kept or logged."""

    silhouette: Silhouette = field(repr=False)
    contour: Contour = field(repr=False)
    shape: HandShape = field(repr=False)
    features: Features


def looked_at(
    picture: WorkingPicture,
    platen: Platen,
    mirrored: bool | None = None,
    reader: _Reader | None = None,
    mask: Mask = NO_MASK,
) -> Seen | FailureToAcquire:
    """As ``acquire``: one look, and slower ones where it is worth it."""
    seen = shape_in(picture, platen, mirrored, 0, reader, mask)
    for lump_px in SECOND_LOOKS_PX:
        if isinstance(seen, Seen) or seen.reason not in WORTH_A_SECOND_LOOK:
            break
        again = shape_in(picture, platen, mirrored, lump_px, reader, mask)
        # A web that is hidden has five fingers beside it: more was seen than at a look that found them closed. Of a
        # hand that leaves the picture a later look may have cut that end off: it is to be moved first.
        hidden = not isinstance(again, Seen) and again.reason is QualityReason.WEB_HIDDEN
        if isinstance(again, Seen) or (hidden and seen.reason is not QualityReason.HAND_CUT_OFF):
            seen = again
    return seen


def shape_in(
    picture: WorkingPicture,
    platen: Platen,
    mirrored: bool | None = None,
    lump_px: int = 0,
    reader: _Reader | None = None,
    mask: Mask = NO_MASK,
) -> Seen | FailureToAcquire:
    """As ``acquire``, in one look, with what was seen on the way."""
    seen = _shape_in(picture, platen, mirrored, lump_px, reader, mask)
    return FailureToAcquire(seen) if isinstance(seen, QualityReason) else seen


def _shape_in(
    picture: WorkingPicture,
    platen: Platen,
    mirrored: bool | None,
    lump_px: int,
    reader: _Reader | None,
    mask: Mask,
) -> Seen | QualityReason | FailureToAcquire:
    """The stages from picture to features, one after the other."""
    silhouette = find_silhouette(picture, platen, lump_px=lump_px)
    if not isinstance(silhouette, Silhouette):
        return silhouette
    contour, palm = trace_contour(silhouette), find_palm(silhouette)
    if platen is Platen.LIGHT:
        # Valleys are first where the shadow in a web ends: only once webs are drawn anew do they say much.
        shaded = find_masked_landmarks(palm, contour, mask.left_out, SHADED_SPREAD)
        if not isinstance(shaded, Landmarks):
            return shaded
        anew = _drawn_anew(picture, silhouette, contour, shaded, mask)
        if not isinstance(anew, tuple):
            return anew
        silhouette, contour, palm = anew
    # From here on a calibrated reader's hand is seen as the nominal camera would see it.
    straight, disc = (contour, palm) if reader is None else reader.straightened(contour, palm)
    landmarks = find_masked_landmarks(disc, straight, mask.left_out)
    if not isinstance(landmarks, Landmarks):
        return landmarks
    if mirrored is not None and landmarks.mirrored is not mirrored:
        return QualityReason.WRONG_HAND
    posture = posture_of(silhouette.pieces, straight, landmarks, None if reader is None else reader.to_nominal)
    heights: NDArray[np.float64] | None = None
    if reader is not None:
        heights = measure_heights(reader.untouched, silhouette.level, straight, landmarks, reader.calibration)
        unlike = None if heights is None else no_hand_from_the_side(heights)
        if unlike is not None:
            return unlike
    hand = measure(straight, landmarks)
    if not isinstance(hand, HandShape):
        return hand
    values = features_of(hand)
    refused = implausible(values, mask.left_out)
    if refused is not None:
        return refused
    if not mask.left_out and uneven(hand):
        return QualityReason.IMPLAUSIBLE_MEASUREMENT
    if mask.left_out:
        values = np.where(mask.compared(), values, 0.0)
    height_values = None if heights is None else height_features(heights)
    features = Features(
        values,
        FEATURE_NAMES,
        platen,
        landmarks.mirrored,
        posture,
        height_values,
        in_mm=reader is not None,
        left_out=mask.left_out,
    )
    return Seen(silhouette, contour, hand, features)


@dataclass(frozen=True, eq=False)
class _Hidden:
    """Webs to be followed into shadows, and what is said where they are not seen then either."""

    webs: frozenset[int]
    failure: FailureToAcquire


def _drawn_anew(
    picture: WorkingPicture, silhouette: Silhouette, contour: Contour, landmarks: Landmarks, mask: Mask
) -> tuple[Silhouette, Contour, Palm] | QualityReason | FailureToAcquire:
    """A hand on white paper, its webs and then its fingertips drawn anew: for both, where they are must be known.

    A web is followed towards the palm a little at a time: what lies behind it is the back of the hand. Into a shadow it
    is followed only where it is not seen otherwise.
    """
    found = _drawn_by(frozenset(), picture, silhouette, contour, landmarks, mask)
    if not isinstance(found, _Hidden):
        return found
    for deep in () if THUMB_WEB in found.webs else dict.fromkeys((found.webs, WEBS)):
        deeper = _drawn_by(deep, picture, silhouette, contour, landmarks, mask)
        if not isinstance(deeper, QualityReason | _Hidden):
            return deeper
    return found.failure


def _drawn_by(
    deep: frozenset[int],
    picture: WorkingPicture,
    silhouette: Silhouette,
    contour: Contour,
    landmarks: Landmarks,
    mask: Mask,
) -> tuple[Silhouette, Contour, Palm] | QualityReason | _Hidden:
    """As ``_drawn_anew``, with these webs followed into shadows; or which webs are still not seen."""
    for step in range(WEB_STEPS + 1):
        if step < WEB_STEPS:
            drawn = with_clear_webs(picture.on_white, silhouette, contour, landmarks, deep)
            if isinstance(drawn, frozenset):
                return _Hidden(WEBS, _not_seen(drawn, silhouette, contour, landmarks))
        else:
            hidden = hidden_webs(picture.on_white, contour, landmarks, deep)
            if hidden:
                return _Hidden(hidden, _not_seen(hidden, silhouette, contour, landmarks))
            drawn = with_whole_fingertips(picture.on_white, silhouette, contour, landmarks)
        silhouette, contour, palm = drawn, trace_contour(drawn), find_palm(drawn)
        found = find_masked_landmarks(palm, contour, mask.left_out, SHADED_SPREAD)
        if not isinstance(found, Landmarks):
            # There were five before: what is lost now was parted from its neighbour by a shadow, if by anything.
            return QualityReason.FINGERS_CLOSED
        landmarks = found
    found = find_masked_landmarks(palm, contour, mask.left_out)
    return (silhouette, contour, palm) if isinstance(found, Landmarks) else found


def _not_seen(webs: frozenset[int], silhouette: Silhouette, contour: Contour, landmarks: Landmarks) -> FailureToAcquire:
    """Webs that are hidden, and where the first of them was looked for, in the picture and on the hand."""
    at_px = contour.points[landmarks.valleys[min(webs)]]
    x, y = np.clip(at_px / np.array(silhouette.shape[::-1]), 0.0, 1.0)
    frame = find_frame(contour, find_palm(silhouette))
    place = PlacedFinding(Finding.WEB_HIDDEN, float(x), float(y), None if frame is None else frame.at(at_px))
    return FailureToAcquire(QualityReason.WEB_HIDDEN, (place,))
