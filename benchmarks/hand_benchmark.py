"""What a look at a hand takes: from a decoded frame to a decision, beside what cannot be done without.

The floor is Otsu's threshold and `findContours` on one channel of the same frame. Both, and MediaPipe Hands where it is
to be had, take turns, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import BenchmarkFailed
from benchmarks.figures import Better, Figure, Report, median
from benchmarks.first_comparison import measure_first_comparison
from benchmarks.hands import BenchHand, enrolled_hands
from benchmarks.language import _
from hand_geometry.acquisition import Features, acquire
from hand_geometry.comparison import compare, decide
from hand_geometry.image_decoding import read_image
from hand_geometry.reference_codec import decode_reference, encode_reference

_FRAME_SIDES_PX = (1200, 1600)
_MEDIAPIPE = Path(__file__).parent / "mediapipe_hands.py"
_MEDIAPIPE_VERSION = "0.10.14"
_PICTURES = (".jpg", ".jpeg", ".png")
_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class HandSettings:
    """How much is measured.

    Attributes:
        folder: pictures of 1600×1200 to measure in place of synthetic ones.
        mediapipe: a Python interpreter that has MediaPipe.
    """

    frames: int = 8
    rounds: int = 12
    starts: int = 5
    references: int = 1_000
    folder: Path | None = None
    mediapipe: str | None = None


@dataclass
class _Taken:
    """Samples in seconds."""

    decision_s: list[float] = field(default_factory=list)
    floor_s: list[float] = field(default_factory=list)
    mediapipe_s: list[float] = field(default_factory=list)


def run_hand_benchmark(settings: HandSettings, on_progress: Callable[[str, int, int], None]) -> Report:
    """Measures; nothing is written to disk.

    Raises:
        BenchmarkFailed: too few hands can be recognized, or MediaPipe does not answer.
    """
    people = _("personnes")
    hands = enrolled_hands(4, lambda done: on_progress(people, done, 4))
    frames = [hand.image for hand in hands] if settings.folder is None else _pictures(settings.folder, settings.frames)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        taken = _Taken()
        with _mediapipe(settings.mediapipe) as other:
            for turn in range(_WARM_UP + settings.rounds):
                on_progress(_("images"), turn + 1, _WARM_UP + settings.rounds)
                _one_turn(frames, hands[0], taken if turn >= _WARM_UP else _Taken(), other)
        compared_s = _compare_all(hands, settings.references)
    finally:
        cv2.setNumThreads(threads)
    starts = []
    for at in range(settings.starts):
        on_progress(_("démarrages"), at + 1, settings.starts)
        starts.append(measure_first_comparison(hands[at % len(hands)]))
    largest = max(len(encode_reference(hand.reference)) for hand in hands)
    decision_s, floor_s = median(taken.decision_s), median(taken.floor_s)
    found = Figure(
        "hand_decision_to_floor",
        _("de l'image décodée à la décision"),
        decision_s / floor_s,
        "ratio",
        2.5,
        detail=_("{ours:.2f} ms ; seuil d'Otsu et contours {floor:.2f} ms").format(
            ours=1e3 * decision_s, floor=1e3 * floor_s
        ),
    )
    figures = [found]
    if taken.mediapipe_s:
        other_s = median(taken.mediapipe_s)
        figures.append(
            Figure(
                "hand_decision_to_mediapipe",
                _("la même, face à MediaPipe Hands"),
                decision_s / other_s,
                "ratio",
                0.5,
                detail=_("{other:.1f} ms ; viser 0,25").format(other=1e3 * other_s),
            )
        )
    figures += [
        Figure(
            "hand_first_comparison", _("import et première comparaison"), median([s.seconds for s in starts]), "s", 0.5
        ),
        Figure("hand_first_memory", _("mémoire à ce moment"), max(s.peak_mib for s in starts), "MiB", 130.0),
        Figure("hand_reference_size", _("une référence enregistrée"), float(largest), "octets", 256.0),
        Figure(
            "hand_comparison",
            _("une comparaison, {n} références").format(n=settings.references),
            1e6 * compared_s,
            "µs",
            50.0,
            Better.LOWER,
            _("référence décodée"),
        ),
    ]
    remarks = [_("Un seul fil d'exécution pour nous ; MediaPipe prend les siens."), _about_frames(settings, frames)]
    return Report(_("Une main"), tuple(figures), tuple(remarks))


def _about_frames(settings: HandSettings, frames: Sequence[NDArray[np.uint8]]) -> str:
    kind = _("synthétiques") if settings.folder is None else _("de {folder}").format(folder=settings.folder.name)
    return _("{n} images {kind}, {rounds} tours.").format(n=len(frames), kind=kind, rounds=settings.rounds)


def _pictures(folder: Path, count: int) -> list[NDArray[np.uint8]]:
    """Pictures of the camera's size, spread over the folder."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
    found = []
    for path in paths[:: max(1, len(paths) // count)][:count]:
        image = read_image(path)
        if image is not None and image.shape[:2] == _FRAME_SIDES_PX:
            found.append(image)
    if not found:
        raise BenchmarkFailed(_("aucune image de 1600×1200 dans ce dossier"))
    return found


def _one_turn(
    frames: Sequence[NDArray[np.uint8]],
    hand: BenchHand,
    taken: _Taken,
    other: Callable[[NDArray[np.uint8]], float] | None,
) -> None:
    for image in frames:
        started_s = time.perf_counter()
        features = acquire(image)
        if isinstance(features, Features):
            decide(compare(hand.reference, features))
        taken.decision_s.append(time.perf_counter() - started_s)
        channel = np.ascontiguousarray(image[:, :, 2])
        started_s = time.perf_counter()
        binary = cv2.threshold(channel, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1]
        cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        taken.floor_s.append(time.perf_counter() - started_s)
        if other is not None:
            taken.mediapipe_s.append(other(image))


@contextmanager
def _mediapipe(python: str | None) -> Iterator[Callable[[NDArray[np.uint8]], float] | None]:
    """The seconds that MediaPipe takes for a frame, or None where no interpreter was named."""
    if python is None:
        yield None
        return
    asked = "import importlib.metadata as m; print(m.version('mediapipe'))"
    version = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False).stdout.strip()
    if version != _MEDIAPIPE_VERSION:
        raise BenchmarkFailed(_("MediaPipe {version} est attendu").format(version=_MEDIAPIPE_VERSION))
    process = subprocess.Popen(
        [python, str(_MEDIAPIPE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    to_it, from_it = process.stdin, process.stdout
    if to_it is None or from_it is None:
        raise BenchmarkFailed(_("MediaPipe ne répond pas"))

    def ask(image: NDArray[np.uint8]) -> float:
        height, width = image.shape[:2]
        try:
            to_it.write(height.to_bytes(4, "big") + width.to_bytes(4, "big") + image.tobytes())
            to_it.flush()
            return float(from_it.readline())
        except (OSError, ValueError) as error:
            raise BenchmarkFailed(_("MediaPipe ne répond pas")) from error

    try:
        yield ask
    finally:
        try:
            to_it.close()
        except BrokenPipeError:
            pass  # it has ended already, which was said
        process.wait(timeout=30.0)


def _compare_all(hands: Sequence[BenchHand], count: int) -> float:
    """Mean seconds of a 1:1 comparison over many references."""
    references = [decode_reference(encode_reference(hands[at % len(hands)].reference)) for at in range(count)]
    probe = acquire(hands[0].image)
    if not isinstance(probe, Features):
        raise BenchmarkFailed(_("trop peu de mains synthétiques sont reconnues : voir canteen-evaluate"))
    compare(references[0], probe)
    started_s = time.perf_counter()
    for reference in references:
        compare(reference, probe)
    return (time.perf_counter() - started_s) / count
