"""The station's fixtures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.enrollment_station.bench import Bench

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where there is one: each station makes six databases, and a busy disk takes its time."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None, prefix="station-") as folder:
        yield Path(folder)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty station with one operator."""
    made = Bench(tmp_path)
    yield made
    made.close()
