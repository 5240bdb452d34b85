"""Folders of labelled pictures, and measuring many pictures once each on all cores."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
from rich.console import Console
from rich.progress import Progress

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.errors import TrialsError
from hand_geometry.image_decoding import read_image
from hand_geometry.quality import QualityReason
from hand_geometry.silhouette import Platen

Acquired = Features | FailureToAcquire
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class LabelledImage:
    """One picture of a set and whose hand it shows; the two hands of a person are two subjects."""

    path: Path
    subject: str


def read_index(folder: Path) -> list[LabelledImage]:
    """Reads ``index.csv`` (columns file, subject and, where both hands occur, hand)."""
    index = folder / "index.csv"
    try:
        # A spreadsheet writes a byte order mark.
        with index.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"file", "subject"} - set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrialsError(f"{index}: cannot be read") from error
    if missing:
        raise TrialsError(f"{index}: the column {min(missing)} is missing")
    images = []
    for number, row in enumerate(rows, start=2):
        if not row.get("file") or not row.get("subject"):
            raise TrialsError(f"{index}, line {number}: file and subject are needed")
        images.append(LabelledImage(folder / row["file"], row["subject"] + (row.get("hand") or "")))
    if not images:
        raise TrialsError(f"{index}: no picture is named in it")
    return images


def acquire_file(path: Path, platen: Platen) -> Acquired:
    """Reads and measures one picture; a file that is missing or no picture is a failure with its reason."""
    image = read_image(path)
    return FailureToAcquire(QualityReason.UNREADABLE_IMAGE) if image is None else acquire(image, platen)


def _acquire_task(task: tuple[Path, Platen]) -> Acquired:
    return acquire_file(*task)


def _one_thread() -> None:
    """Each worker has a core of its own: threads inside OpenCV would only fight for it."""
    cv2.setNumThreads(1)


def acquire_files(paths: Sequence[Path], platen: Platen, *, title: str) -> dict[Path, Acquired]:
    """Measures each distinct picture once, on all cores, with a progress bar on stderr."""
    distinct = list(dict.fromkeys(paths))
    return dict(zip(distinct, on_all_cores(_acquire_task, [(path, platen) for path in distinct], title), strict=True))


def on_all_cores(work: Callable[[_Task], _Result], tasks: Sequence[_Task], title: str) -> Iterator[_Result]:
    """What ``work``, a function of a module, makes of each task, in their order, with a progress bar on stderr."""
    workers = min(os.cpu_count() or 1, max(1, len(tasks) // 4))
    with progress_bar(title, len(tasks)) as advance, ExitStack() as stack:
        done: Iterator[_Result] = map(work, tasks)
        if workers > 1:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(workers, initializer=_one_thread))
            done = pool.imap(work, tasks, chunksize=4)
        for result in done:
            advance()
            yield result


class _Advance:
    """Moves a bar on by one."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total)

    def __call__(self) -> None:
        self._progress.advance(self._task)


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[_Advance]:
    """A progress bar on stderr; drawn only where stderr is a terminal, one line at the end elsewhere."""
    with Progress(console=Console(stderr=True), transient=False) as progress:
        yield _Advance(progress, title, total)
