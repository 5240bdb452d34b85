"""What the hands of a picture, or of many, lie on, told from the pictures: nobody need know it to evaluate them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hand_geometry.grey_levels import otsu_level
from hand_geometry.image_decoding import read_image
from hand_geometry.silhouette import Platen
from hand_geometry.working_picture import is_picture

# A look needs no detail.
LOOKED_AT_PX = (200, 150)
RIM_PX = 6
# Pictures of a set are alike; these many, from all over it, outvote an odd one.
PICTURES_LOOKED_AT = 9
# In a silhouette every pixel is black or white but for a JPEG's ripples.
BLACK, WHITE = 16, 239
SILHOUETTE_SHARE = 0.98
# The darker part of a picture on white is skin, of some colour in most of it; before a lamp it is a shadow without any.
COLOURED = 20
COLOURED_SHARE = 0.25


def platen_in(image: NDArray[np.uint8]) -> Platen:
    """What the hand in an (H, W, 3) uint8 BGR picture lies on, by its rim; dark where it is no picture."""
    if not is_picture(image):
        return Platen.DARK
    if image.ndim == 2:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    small = np.asarray(cv2.resize(image, LOOKED_AT_PX, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    if np.mean((grey < BLACK) | (grey > WHITE)) > SILHOUETTE_SHARE:
        return Platen.SILHOUETTE
    brighter = grey > otsu_level(grey)
    rim = np.ones(grey.shape, dtype=bool)
    rim[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX] = False
    if np.mean(brighter[rim]) < 0.5:
        return Platen.DARK
    darker = small[~brighter].astype(np.int16)
    coloured = np.mean(np.ptp(darker, axis=1) > COLOURED) if len(darker) else 0.0
    return Platen.LIGHT if coloured > COLOURED_SHARE else Platen.BACKLIT


def platen_among(paths: Sequence[Path]) -> Platen:
    """What most of a few pictures from all over the list show; dark where none of them can be read."""
    few = [paths[at * len(paths) // PICTURES_LOOKED_AT] for at in range(PICTURES_LOOKED_AT)] if paths else []
    looks = [platen_in(image) for path in dict.fromkeys(few) if (image := read_image(path)) is not None]
    return Counter(looks).most_common(1)[0][0] if looks else Platen.DARK
