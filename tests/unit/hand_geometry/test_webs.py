"""A hand on white paper among its shadows, rings beside valleys, and a wrist that leaves the picture in pieces."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features, Seen, acquire, shape_in
from hand_geometry.contour import Contour
from hand_geometry.landmarks import Palm, find_tips
from hand_geometry.plausibility import uneven
from hand_geometry.quality import QualityReason
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import synthetic_hand
from hand_geometry.working_picture import WorkingPicture


def on_paper(identity: int, shadow: float, *, bounced: float = 0.0) -> NDArray[np.uint8]:
    """A synthetic hand on white paper, of whose light this share is left in the webs, with some of the skin's tint."""
    picture = synthetic_hand(identity, 0)
    reddish = picture[:, :, 2].astype(int) > picture[:, :, 0].astype(int) + 20
    hand = ((cv2.medianBlur(np.ascontiguousarray(picture[:, :, 2]), 5) > 75) & reddish).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(hand)
    hand = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    skin = np.median(picture[hand > 0].astype(float), axis=0)
    webs = cv2.morphologyEx(hand, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (91, 91)))
    near = cv2.GaussianBlur(webs.astype(float), (0, 0), 4.0)[:, :, None]
    paper = np.full(picture.shape, 245.0) * (1.0 - (1.0 - shadow) * near)
    paper *= 1.0 + bounced * near * (skin / skin[2] - 1.0)
    mixed = np.where(hand[:, :, None] > 0, picture.astype(float), paper)
    return np.asarray(cv2.GaussianBlur(mixed.astype(np.uint8), (3, 3), 0.8), dtype=np.uint8)


@pytest.mark.parametrize("identity", [1, 6])
def test_a_shadow_in_the_webs_moves_no_measurement(identity: int) -> None:
    """Pins that lengths under a deep shadow that takes on two fifths of the skin's tint are those without it."""
    plain = acquire(on_paper(identity, 1.0), Platen.LIGHT)
    shaded = acquire(on_paper(identity, 0.45, bounced=0.4), Platen.LIGHT)
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
    assert FailureToAcquire(QualityReason.WEB_HIDDEN) == acquire(picture, Platen.LIGHT)


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
