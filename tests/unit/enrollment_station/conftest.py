"""The station's fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.enrollment_station.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty station with one operator."""
    made = Bench(tmp_path)
    yield made
    made.close()
