"""Whatever is wrong with a placement is said with its place, and nothing is said of a good one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hand_geometry.contour import Contour
from hand_geometry.findings import find_findings
from hand_geometry.hand_frame import drawn_at, find_frame
from hand_geometry.landmarks import Palm
from hand_geometry.quality import Finding, PlacedFinding
from hand_geometry.silhouette import Platen
from hand_geometry.simulated_camera import empty_platen
from hand_geometry.synthetic_hand import CLOTH_BGR, synthetic_hand


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """One placement of one synthetic person."""
    return synthetic_hand(6, 0)


def of(kind: Finding, image: NDArray[np.uint8], *, mirrored: bool | None = None) -> PlacedFinding:
    """The finding of that kind, which must be there."""
    found = find_findings(image, mirrored=mirrored)
    assert kind in {one.finding for one in found}, found
    return next(one for one in found if one.finding is kind)


def runs(picture: NDArray[np.uint8], column: int) -> list[NDArray[np.intp]]:
    """Rows of the skin in one column, finger by finger."""
    rows = np.nonzero(picture[:, column, 2] > 90)[0]
    return [part for part in np.split(rows, np.nonzero(np.diff(rows) > 3)[0] + 1) if len(part) > 30]


@pytest.mark.parametrize("identity", [1, 3, 6, 8, 12])
def test_nothing_is_said_of_a_good_placement(identity: int) -> None:
    """Pins that no screen points at a hand that lies well."""
    assert () == find_findings(synthetic_hand(identity, 1))


def test_wrong_hand_at_its_palm(picture: NDArray[np.uint8]) -> None:
    """Pins that the other hand is said only where one is expected."""
    left = np.ascontiguousarray(picture[::-1])
    assert () == find_findings(left)
    place = of(Finding.WRONG_HAND, left, mirrored=False)
    assert 0.5 < place.x < 0.9


def test_touching_fingers_at_the_touch(picture: NDArray[np.uint8]) -> None:
    """Pins that the place lies at the two fingers, not anywhere."""
    image = picture.copy()
    at = []
    for column in range(420, 900):
        fingers = runs(picture, column)
        below = [part for part in fingers if part[0] > 380]
        if len(below) >= 2:
            image[below[0][-1] - 25 : below[1][0] + 25, column] = (120, 150, 205)
            at.append((column, (below[0][-1] + below[1][0]) / 2))
    place = of(Finding.FINGERS_TOUCHING, image)
    x, y = np.mean(at, axis=0)
    assert 0.2 > abs(place.x - x / 1600)
    assert 0.15 > abs(place.y - y / 1200)


def test_a_missing_finger_at_its_gap(picture: NDArray[np.uint8]) -> None:
    """Pins that the gap of a bent middle finger is pointed at."""
    image = picture.copy()
    middle = [runs(picture, column) for column in range(300, 700)]
    tip = next(parts[0] for parts in middle if len(parts) == 1)
    row = float(tip.mean())
    for column in range(200, 800):
        for part in runs(picture, column):
            if abs(part.mean() - row) < 70:
                image[part[0] - 6 : part[-1] + 7, column] = CLOTH_BGR
    place = of(Finding.FINGER_MISSING, image)
    assert 0.12 > abs(place.y - row / 1200)
    assert place.x < 0.6


def test_too_far_in_and_out(picture: NDArray[np.uint8]) -> None:
    """Pins both ways, each pointed at where the hand leaves the picture."""
    deep = np.full_like(picture, 18)
    deep[:, :1250] = picture[:, 350:]
    deep[300:1000, 1200:] = deep[300:1000, 1199:1200]
    assert 0.05 > of(Finding.HAND_TOO_FAR_IN, deep).x
    shallow = np.full_like(picture, 18)
    shallow[:, 520:] = picture[:, :1080]
    assert 0.95 < of(Finding.HAND_TOO_FAR_OUT, shallow).x


def test_sleeve_over_the_wrist(picture: NDArray[np.uint8]) -> None:
    """Pins that a coloured sleeve is pointed at, behind the palm."""
    image = picture.copy()
    image[250:1050, 1400:] = (200, 60, 40)
    assert 0.8 < of(Finding.SLEEVE, image).x


def test_ring_on_its_finger(picture: NDArray[np.uint8]) -> None:
    """Pins that a gold ring, which is measured past, can still be pointed at."""
    image = picture.copy()
    finger = max(runs(picture, 640), key=len)
    image[finger[0] : finger[-1] + 1, 636:652] = (20, 200, 240)
    place = of(Finding.RING, image)
    assert 0.02 > abs(place.x - 644 / 1600)
    assert 0.05 > abs(place.y - float(finger.mean()) / 1200)


def test_blur(picture: NDArray[np.uint8]) -> None:
    """Pins that a picture out of focus is said to be blurred."""
    of(Finding.BLURRED, np.asarray(cv2.GaussianBlur(picture, (0, 0), 7.0), dtype=np.uint8))


def test_glare_where_it_shines(picture: NDArray[np.uint8]) -> None:
    """Pins that the lamp's reflection on the hand is pointed at."""
    image = picture.copy()
    cv2.circle(image, (1100, 600), 60, (255, 255, 255), cv2.FILLED)
    place = of(Finding.GLARE, image)
    assert 0.02 > abs(place.x - 1100 / 1600)
    assert 0.02 > abs(place.y - 0.5)


def test_dirt_on_an_empty_platen() -> None:
    """Pins that a smear is pointed at and that a clean platen has none."""
    image = empty_platen()
    assert () == find_findings(image)
    cv2.circle(image, (400, 300), 30, (120, 120, 120), cv2.FILLED)
    place = of(Finding.DIRTY_PLATEN, image)
    assert 0.01 > abs(place.x - 0.25)
    assert 0.01 > abs(place.y - 0.25)


@pytest.mark.parametrize("platen", list(Platen))
def test_any_picture_has_an_answer(platen: Platen) -> None:
    """Pins that noise of every grain gives findings in 0..1 and never an error."""
    for seed in range(12):
        draw = np.random.default_rng(seed)
        grains = int(draw.integers(2, 30))
        coarse = draw.integers(0, 256, (grains, grains, 3)).astype(np.uint8)
        image = np.asarray(cv2.resize(coarse, (400, 300), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
        assert all(0.0 <= one.x <= 1.0 and 0.0 <= one.y <= 1.0 for one in find_findings(image, platen))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_place_on_the_drawn_hand(picture: NDArray[np.uint8], turns: int, mirror: bool) -> None:
    """Pins that a ring is pointed at on the same drawn finger, whichever way the hand lies in the picture."""
    image = picture.copy()
    finger = max(runs(picture, 640), key=len)
    image[finger[0] : finger[-1] + 1, 636:652] = (20, 200, 240)
    straight = of(Finding.RING, image).on_hand
    assert straight is not None
    if mirror:
        image = np.ascontiguousarray(image[::-1])
    turned = of(Finding.RING, np.ascontiguousarray(np.rot90(image, turns))).on_hand
    assert turned is not None
    assert straight.thumb_right is (turned.thumb_right is not mirror)
    assert np.allclose(drawn_at(straight), drawn_at(turned), atol=0.03)
    x, y = drawn_at(straight)
    assert y < 0.5
    assert 0.0 < x < 1.0


@pytest.mark.parametrize("corner", [None, (-1.66, -1.4)])
@pytest.mark.parametrize("mirror", [1, -1])
def test_the_corner_of_a_wrist_is_no_thumb(corner: tuple[float, float] | None, mirror: int) -> None:
    """Pins that a screen does not point at the wrong side of the drawn hand: a corner is lower than any thumb."""
    tips = [(2.15, 0.54), (0.9, 2.1), (0.1, 2.4), (-0.6, 2.2), (-1.2, 1.6), *([corner] if corner else [])]
    angles = np.linspace(0.0, 2.0 * np.pi, 1000, endpoint=False)
    radius = np.ones_like(angles)
    for across, along in tips:
        apart = np.abs(np.angle(np.exp(1j * (angles - np.arctan2(along, across)))))
        radius = np.maximum(radius, 1.0 + (np.hypot(across, along) - 1.0) * np.clip(1.0 - apart / 0.18, 0.0, 1.0))
    outline = 100.0 * radius[:, None] * np.stack([mirror * np.cos(angles), -np.sin(angles)], axis=1) + 400.0
    none = np.zeros(len(outline), dtype=bool)
    frame = find_frame(Contour(outline, none, none), Palm(np.array([400.0, 400.0]), 100.0))
    assert frame is not None
    assert frame.thumb_right is (mirror == 1)
    assert frame.toward[1] < -0.9
