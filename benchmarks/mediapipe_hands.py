"""MediaPipe Hands on frames given on the input, one at a time, timed by itself.

Run by path with the interpreter of a virtual environment of its own, which has nothing of this project. Each frame is
height and width (4 bytes each, big-endian) and that many BGR pixels; the answer is a line with the seconds it took.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

import numpy as np


def main() -> None:
    mediapipe: Any = importlib.import_module("mediapipe")
    hands = mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=1)
    while len(head := sys.stdin.buffer.read(8)) == 8:
        height, width = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
        pixels = sys.stdin.buffer.read(3 * height * width)
        image = np.ascontiguousarray(np.frombuffer(pixels, dtype=np.uint8).reshape(height, width, 3)[:, :, ::-1])
        started_s = time.perf_counter()
        hands.process(image)
        sys.stdout.write(f"{time.perf_counter() - started_s:.6f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
