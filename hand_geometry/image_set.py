"""Folders of labelled pictures, and measuring many pictures once each on all cores."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TypeVar

import cv2
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.errors import TrialsError
from hand_geometry.image_decoding import read_image
from hand_geometry.language import _, trouble
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
        raise TrialsError(_("{path} : illisible ({trouble})").format(path=index, trouble=trouble(error))) from error
    if missing:
        raise TrialsError(_("{path} : la colonne {column} manque").format(path=index, column=min(missing)))
    images: list[LabelledImage] = []
    named: set[Path] = set()
    for number, row in enumerate(rows, start=2):
        if not row.get("file") or not row.get("subject"):
            raise TrialsError(_("{path}, ligne {line} : il faut file et subject").format(path=index, line=number))
        path = folder / row["file"]
        if path in named:  # against itself, a picture matches better than any hand
            raise TrialsError(
                _("{path}, ligne {line} : {file} est déjà nommée").format(path=index, line=number, file=path.name)
            )
        named.add(path)
        images.append(LabelledImage(path, row["subject"] + (row.get("hand") or "")))
    if not images:
        raise TrialsError(_("{path} : aucune image n’y est nommée").format(path=index))
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
            with _deaf_to_ctrl_c():
                pool = multiprocessing.get_context("spawn").Pool(workers, initializer=_one_thread)
            stack.enter_context(pool)
            done = pool.imap(work, tasks, chunksize=4)
        for result in done:
            advance()
            yield result


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started here leave Ctrl-C to this one, which ends them: each would say a traceback of its own."""
    resource_tracker.ensure_running()  # started later, it would open the ear again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited; what comes meanwhile waits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Advance:
    """Moves a bar on by one."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total)

    def __call__(self) -> None:
        self._progress.advance(self._task)


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[_Advance]:
    """A progress bar on stderr where that is a terminal; not a word elsewhere."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        yield _Advance(progress, escape(title), total)
