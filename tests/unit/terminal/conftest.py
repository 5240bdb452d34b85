"""A lane for every test of the terminal."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.terminal.lane import School, filled_school


@pytest.fixture(scope="session")
def filled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a terminal that knows three pupils; made once, copied for each test."""
    folder = tmp_path_factory.mktemp("filled")
    filled_school(folder).close()
    return folder


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: its fsync costs nothing. What a kill leaves is tested on the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="canteen-") as folder:
        yield Path(folder)


@pytest.fixture
def school(filled_folder: Path, quick_folder: Path) -> Iterator[School]:
    """Three pupils with cards, the first with a hand, Monday noon, the lane idle."""
    folder = quick_folder / "terminal"
    shutil.copytree(filled_folder, folder)
    school = School(folder)
    yield school.begin()
    school.close()
