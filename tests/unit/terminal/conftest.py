"""A lane for every test of the terminal."""

from __future__ import annotations

import shutil
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
def school(filled_folder: Path, tmp_path: Path) -> Iterator[School]:
    """Three pupils with cards, the first with a hand, Monday noon, the lane idle."""
    folder = tmp_path / "terminal"
    shutil.copytree(filled_folder, folder)
    school = School(folder)
    yield school.begin()
    school.close()
