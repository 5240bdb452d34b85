"""What hands lie on is told from their pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from hand_geometry.ground import platen_among, platen_in
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import encode_jpeg, synthetic_hand
from tests.unit.hand_geometry.paper import on_paper


def test_the_rim_shows_the_ground() -> None:
    """Pins the four grounds, each with drawn hands."""
    for identity in range(5):
        hand = synthetic_hand(identity, 0)
        black = np.asarray(np.where(hand.max(axis=2, keepdims=True) > 90, 255, 0), dtype=np.uint8).repeat(3, axis=2)
        grey = cv2.cvtColor(cv2.cvtColor(hand, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        assert platen_in(hand) is Platen.DARK
        assert platen_in(on_paper(identity, 1.0)) is Platen.LIGHT
        assert platen_in(np.asarray(255 - grey, dtype=np.uint8)) is Platen.BACKLIT
        assert platen_in(black) is Platen.SILHOUETTE


def test_most_pictures_decide_and_none_are_dark(tmp_path: Path) -> None:
    """Pins that an odd or broken picture is outvoted, and that a list of nothing readable has an answer."""
    paths = [tmp_path / f"{at}.jpg" for at in range(7)]
    for at, path in enumerate(paths):
        path.write_bytes(encode_jpeg(on_paper(at, 1.0) if at % 3 else synthetic_hand(at, 0)))
    paths[1].write_bytes(b"\xff\xd8 no picture")
    assert platen_among(paths[1:]) is Platen.LIGHT
    assert platen_among([tmp_path / "none.jpg"]) is Platen.DARK
    assert platen_among([]) is Platen.DARK
