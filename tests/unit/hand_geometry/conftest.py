"""Synthetic people measured once for the whole folder: nothing here shows a real hand."""

from __future__ import annotations

import pytest

from hand_geometry.acquisition import FailureToAcquire, Features, acquire
from hand_geometry.synthetic_hand import synthetic_hand


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands speak English here; where they are to speak French, a test says so."""
    monkeypatch.setenv("LANGUAGE", "en")


PEOPLE = 30
SAMPLES = 4


def measured(identity: int, sample: int) -> Features:
    """The features of one synthetic placement, which must be measurable."""
    acquired = acquire(synthetic_hand(identity, sample))
    assert not isinstance(acquired, FailureToAcquire), (identity, sample, acquired)
    return acquired


@pytest.fixture(scope="session")
def people() -> list[list[Features]]:
    """Four placements of each of thirty people."""
    return [[measured(identity, sample) for sample in range(SAMPLES)] for identity in range(PEOPLE)]
