"""A hand on white paper among its shadows, rings beside valleys, and a wrist that leaves the picture in pieces."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, Seen, acquire, looked_at, shape_in
from hand_geometry.contour import Contour
from hand_geometry.landmarks import Palm, find_palm, find_tips
from hand_geometry.plausibility import uneven
from hand_geometry.quality import Finding, QualityReason
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import synthetic_hand
from hand_geometry.working_picture import WorkingPicture
from tests.unit.hand_geometry.paper import on_paper


@pytest.mark.parametrize(("identity", "bounced"), [(1, 0.4), (6, 0.4), (6, 0.6)])
def test_a_shadow_in_the_webs_moves_no_measurement(identity: int, bounced: float) -> None:
    """Pins that lengths under a deep shadow with two or three fifths of the skin's tint are those without it."""
    plain = acquire(on_paper(identity, 1.0), Platen.LIGHT)
    shaded = acquire(on_paper(identity, 0.45, bounced=bounced), Platen.LIGHT)
    assert isinstance(plain, Features)
    assert isinstance(shaded, Features)
    lengths = np.array(["_length_" in name and not name.startswith("thumb") for name in plain.names])
    assert 0.02 > float(np.abs(plain.values - shaded.values)[lengths].max())


@pytest.mark.parametrize("identity", [1, 6])
@pytest.mark.parametrize("bounced", [0.5, 0.6, 0.7, 0.8])
def test_a_shadow_too_deep_is_said_and_never_measured_wrongly(identity: int, bounced: float) -> None:
    """Pins that where a shadow takes on more than half of the skin's tint, the web is hidden, or the hand refused."""
    plain = acquire(on_paper(identity, 1.0), Platen.LIGHT)
    shaded = acquire(on_paper(identity, 0.45, bounced=bounced), Platen.LIGHT)
    assert isinstance(plain, Features)
    if isinstance(shaded, Features):
        lengths = np.array(["_length_" in name and not name.startswith("thumb") for name in plain.names])
        assert 0.02 > float(np.abs(plain.values - shaded.values)[lengths].max())
    elif bounced < 0.8:
        assert QualityReason.WEB_HIDDEN is shaded.reason
    else:
        assert shaded.reason in (QualityReason.WEB_HIDDEN, QualityReason.FINGERS_CLOSED)


@pytest.mark.parametrize("pair", [1, 2, 3])
def test_fingers_that_touch_at_one_place_hide_their_web(pair: int) -> None:
    """Pins that paper behind a place where two open fingers meet is not taken for the end of their gap."""
    picture = on_paper(6, 1.0)
    seen = shape_in(WorkingPicture(picture), Platen.LIGHT)
    assert isinstance(seen, Seen)
    larger = picture.shape[1] / seen.silhouette.shape[1]
    fingers, valley = seen.shape.fingers, seen.shape.valleys_px[pair]
    along = (fingers[pair].tip_px + fingers[pair + 1].tip_px) / 2.0 - valley
    across = 40.0 * np.array([-along[1], along[0]]) / np.hypot(*along)
    inside = np.rint(larger * (fingers[2].tip_px + seen.shape.valleys_px[2]) / 2.0).astype(int)
    skin = np.median(picture[inside[1] - 3 : inside[1] + 3, inside[0] - 3 : inside[0] + 3].reshape(-1, 3), axis=0)
    ends = np.rint(larger * (valley + 0.35 * along + np.array([[-1.0], [1.0]]) * across)).astype(int)
    cv2.line(picture, ends[0].tolist(), ends[1].tolist(), skin.tolist(), round(14 * larger))
    refused = acquire(picture, Platen.LIGHT)
    assert isinstance(refused, FailureToAcquire)
    (place,) = refused.places
    assert (QualityReason.WEB_HIDDEN, Finding.WEB_HIDDEN) == (refused.reason, place.finding)
    # The screen points between these two fingers.
    away = np.hypot(*(seen.shape.valleys_px - np.array([place.x, place.y]) * seen.silhouette.shape[::-1]).T)
    assert pair == int(np.argmin(away))
    assert place.on_hand is not None
    assert 0.5 < place.on_hand.along < 2.5


def seen_on(picture: NDArray[np.uint8]) -> tuple[Seen, float]:
    """What is measured of a hand on paper, and how many px of the picture are one of the size it is measured at."""
    seen = shape_in(WorkingPicture(picture), Platen.LIGHT)
    assert isinstance(seen, Seen)
    return seen, picture.shape[1] / seen.silhouette.shape[1]


RING = ((-1, -1), (-1, 1), (1, 1), (1, -1))


def painted(picture: NDArray[np.uint8], corners: NDArray[np.float64], colour: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The picture with a polygon, in its px, of one colour, a little blurred."""
    drawn = cv2.fillPoly(picture.copy(), [np.rint(corners).astype(np.int32)], colour.tolist())
    return np.asarray(cv2.GaussianBlur(drawn, (3, 3), 0.8), dtype=np.uint8)


def test_a_nail_as_white_as_paper_leaves_no_notch() -> None:
    """Pins that a bite of white out of the thumb's side, next to its tip, is given back to it."""
    picture = on_paper(6, 1.0)
    seen, larger = seen_on(picture)
    thumb = seen.shape.fingers[0]
    side = np.array([-thumb.axis[1], thumb.axis[0]])
    wide = float(thumb.widths_px[3])
    for hand in (1.0, -1.0):
        nail = thumb.tip_px + np.array(
            [
                a * wide * thumb.axis + b * hand * wide * side
                for a, b in ((0.35, 0.7), (0.35, 0.25), (0.7, 0.25), (0.7, 0.7))
            ]
        )
        bitten = acquire(painted(picture, larger * nail, np.array([250.0, 250.0, 250.0])), Platen.LIGHT)
        assert isinstance(bitten, Features)
        thumbs = np.array([name.startswith(("thumb_length", "thumb_width")) for name in bitten.names])
        assert 0.12 > float(np.abs(bitten.values - seen.features.values)[thumbs].max())


@pytest.mark.parametrize("reach", [0.4, 0.6])
def test_the_thumbs_web_in_a_shadow_is_said(reach: float) -> None:
    """Pins that where a fading shadow nearly as red as skin fills the thumb's web, no thumb is measured."""
    picture = on_paper(6, 1.0)
    seen, larger = seen_on(picture)
    thumb, index = seen.shape.fingers[:2]
    valley = seen.shape.valleys_px[0]
    middle = np.rint(larger * (seen.shape.valleys_px[2] + 30.0 * seen.shape.axes[2])).astype(int)
    skin = picture[middle[1], middle[0]].astype(float)
    corners = np.stack([valley, valley + reach * (thumb.tip_px - valley), valley + reach * (index.tip_px - valley)])
    depth = cv2.fillPoly(np.zeros(picture.shape[:2]), [np.rint(larger * corners).astype(np.int32)], 1.0)
    depth = cv2.GaussianBlur(depth, (0, 0), 8.0 * larger)[:, :, None]
    shadow = 0.75 * 245.0 * (1.0 + 0.8 * (skin / skin[2] - 1.0))
    shaded = ((1.0 - depth) * picture + depth * shadow).astype(np.uint8)
    # The hand itself lies over the shadow.
    hand = cv2.resize(seen.silhouette.mask(), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    shaded[hand > 0] = picture[hand > 0]
    assert FailureToAcquire(QualityReason.WEB_HIDDEN) == acquire(shaded, Platen.LIGHT)


def test_skin_bleached_beside_an_open_gap_is_no_paper() -> None:
    """Pins that a spot as pale as paper on a finger's side hides no web, for the gap beside it goes on further in."""
    picture = on_paper(6, 1.0)
    seen, larger = seen_on(picture)
    index, valley = seen.shape.fingers[1], seen.shape.valleys_px[1]
    side = np.array([-index.axis[1], index.axis[0]])
    at = index.tip_px + 0.7 * (valley - index.tip_px) @ index.axis * index.axis
    side *= np.sign((valley - at) @ side)
    ways = [a * 14.0 * index.axis + b * 3.0 * side for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1))]
    spot = at + 0.2 * float(index.widths_px[10]) * side + np.array(ways)
    bleached = acquire(painted(picture, larger * spot, np.array([225.0, 235.0, 250.0])), Platen.LIGHT)
    assert isinstance(bleached, Features)


@pytest.mark.parametrize(("behind", "hidden"), [(0.05, True), (-0.9, False)])
@pytest.mark.parametrize("pair", [1, 2, 3])
def test_a_ring_beside_a_valley_hides_the_web(pair: int, behind: float, hidden: bool) -> None:
    """Pins that where a ring lies on a finger behind what looks like its web it is said; further out it matters not."""
    picture = on_paper(6, 1.0)
    seen, larger = seen_on(picture)
    finger, valley = seen.shape.fingers[pair], seen.shape.valleys_px[pair]
    radius = find_palm(seen.silhouette).radius_px
    side = np.array([-finger.axis[1], finger.axis[0]])
    middle = finger.tip_px + (valley - finger.tip_px) @ finger.axis * finger.axis + behind * radius * finger.axis
    ways = [a * 0.1 * radius * finger.axis + b * 0.65 * float(finger.widths_px[10]) * side for a, b in RING]
    ringed = acquire(painted(picture, larger * (middle + np.array(ways)), np.array([95.0, 100.0, 100.0])), Platen.LIGHT)
    assert (QualityReason.WEB_HIDDEN if hidden else None) == getattr(ringed, "reason", None)


@pytest.mark.parametrize("lamp", [(0.8, 0.9, 1.0), (1.0, 0.9, 0.7), (0.6, 0.6, 0.6)])
def test_neither_the_lamps_colour_nor_the_exposure_moves_a_measurement(lamp: tuple[float, float, float]) -> None:
    """Pins that the same hand under a warm, a cold and a weak lamp has the same measurements: the paper is white."""
    picture = on_paper(6, 0.45, bounced=0.4)
    plain = acquire(picture, Platen.LIGHT)
    lit = acquire(np.rint(picture * np.array(lamp)).astype(np.uint8), Platen.LIGHT)
    assert isinstance(plain, Features)
    assert isinstance(lit, Features)
    assert 0.05 > float(np.abs(plain.values - lit.values).max())


def test_what_lies_behind_the_palm_is_no_fingertip() -> None:
    """Pins that a bump of the outline opposite the fingers, a watch say, is not taken for one of them."""
    angles = np.linspace(0.0, 2.0 * np.pi, 900, endpoint=False)
    distance = np.full(900, 100.0)
    for finger in (1.6, 2.4, 2.8, 3.2, 3.6, 6.1):
        distance += 120.0 * np.exp(-((np.angle(np.exp(1j * (angles - finger))) / 0.09) ** 2))
    points = np.stack([distance * np.cos(angles), distance * np.sin(angles)], axis=1)
    nowhere = np.zeros(len(points), dtype=np.bool_)
    found = find_tips(Palm(np.zeros(2), 100.0), Contour(points, nowhere, nowhere)).found
    assert sorted(round(float(angles[at]), 1) for at in found) == [1.6, 2.4, 2.8, 3.2, 3.6]


def test_a_valley_off_the_knuckles_line_is_none() -> None:
    """Pins that the middle one of three valleys lies about half-way between its neighbours and beyond their line."""
    seen = shape_in(WorkingPicture(synthetic_hand(6, 0)), Platen.DARK)
    assert isinstance(seen, Seen)
    assert not uneven(seen.shape)
    index, little = seen.shape.valleys_px[[1, 3]]
    for share, back in ((0.72, 0.0), (0.2, 0.0), (0.5, 0.25)):
        valleys = seen.shape.valleys_px.copy()
        valleys[2] = index + share * (little - index) + back * np.hypot(*(little - index)) * seen.shape.axes[2]
        assert uneven(replace(seen.shape, valleys_px=valleys)), (share, back)


@pytest.mark.parametrize(("at", "expected"), [(0.0, QualityReason.FINGERS_CLOSED), (np.pi, QualityReason.HAND_CUT_OFF)])
def test_what_leaves_the_picture_beside_the_wrist_is_no_finger(at: float, expected: QualityReason) -> None:
    """Pins that a bump of the outline at the border is a cut finger only away from the wrist."""
    angles = np.linspace(0.0, 2.0 * np.pi, 900, endpoint=False)
    # A palm of radius 100, a wrist between -0.6 and 0.6 that follows the border, and bumps as wide as fingers.
    distance = 100.0 + 130.0 * np.exp(-(((angles - 2.2) / 0.12) ** 2)) + 130.0 * np.exp(-(((angles - 4.2) / 0.12) ** 2))
    bump = np.angle(np.exp(1j * (angles - (at + 0.75 if at == 0.0 else at))))
    distance += 60.0 * np.exp(-((bump / 0.1) ** 2))
    wrist = np.abs(np.angle(np.exp(1j * angles))) < 0.55
    border = wrist | (np.abs(bump) < 0.05)
    points = np.stack([distance * np.cos(angles), distance * np.sin(angles)], axis=1)
    contour = Contour(points, np.zeros(len(points), dtype=np.bool_), border)
    assert expected is find_tips(Palm(np.zeros(2), 100.0), contour).too_few


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (QualityReason.FINGERS_CLOSED, QualityReason.WEB_HIDDEN),
        (QualityReason.HAND_CUT_OFF, QualityReason.HAND_CUT_OFF),
    ],
)
def test_a_hand_that_leaves_the_picture_is_moved_before_its_fingers_are_spread(
    first: QualityReason, said: QualityReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that a web found hidden by a later look outdoes fingers that looked closed, not a hand that was cut off."""
    looks = iter([first, QualityReason.WEB_HIDDEN, QualityReason.FINGERS_CLOSED])
    monkeypatch.setattr("hand_geometry.acquisition.shape_in", lambda *_: FailureToAcquire(next(looks)))
    assert FailureToAcquire(said) == looked_at(WorkingPicture(synthetic_hand(6, 0)), Platen.LIGHT)
