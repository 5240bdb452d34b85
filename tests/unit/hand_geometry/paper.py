"""Pictures of hands on white paper."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.synthetic_hand import synthetic_hand


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
