"""All trials among the people of one measured set: one try, and transactions of several tries.

Protocol: each picture is the probe once; the first other pictures of that person enroll; every picture of every other
person is an impostor's. A picture that could not be measured is a probe that is rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import FailureToAcquire, Features
from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.image_set import LabelledImage
from hand_geometry.performance import TrialScores
from hand_geometry.scoring import calibrated, raw_score

TRIES = 3


@dataclass(frozen=True, eq=False)
class _Rows:
    """The pictures of the people tested: ``projected`` (m, k) float64, a row of NaN where nothing was measured.

    ``probes`` are the same where they are laid on the reader.
    """

    subjects: NDArray[np.str_]
    files: NDArray[np.str_]
    projected: NDArray[np.float64]
    probes: NDArray[np.float64]
    numbers: FittedNumbers

    def scores(self, enrolment: Sequence[int]) -> NDArray[np.float64] | None:
        """Every row's score against the mean of these rows; +inf where the row, None where no enrolment row was
        measured.
        """
        samples = self.projected[list(enrolment)]
        samples = samples[np.isfinite(samples).all(axis=1)]
        if not len(samples):
            return None
        raw = raw_score(self.numbers, samples.mean(axis=0), len(samples), self.probes)
        count = len(samples)
        return np.array([calibrated(self.numbers, one, count) if np.isfinite(one) else np.inf for one in raw])


def _rows(
    images: Sequence[LabelledImage],
    acquired: Sequence[Features | FailureToAcquire],
    numbers: FittedNumbers,
    people: NDArray[np.str_],
    probes: Sequence[Features | FailureToAcquire] | None = None,
) -> _Rows:
    chosen = [at for at, image in enumerate(images) if image.subject in people]
    nothing = np.full(numbers.dimensions, np.nan)

    def projected(measured: Sequence[Features | FailureToAcquire]) -> NDArray[np.float64]:
        found = [measured[at] for at in chosen]
        rows = [numbers.project(one.values) if isinstance(one, Features) else nothing for one in found]
        return np.stack(rows) if rows else np.empty((0, numbers.dimensions))

    return _Rows(
        np.array([images[at].subject for at in chosen]),
        np.array([images[at].path.name for at in chosen]),
        projected(acquired),
        projected(acquired if probes is None else probes),
        numbers,
    )


def trials_among(
    images: Sequence[LabelledImage],
    acquired: Sequence[Features | FailureToAcquire],
    numbers: FittedNumbers,
    people: NDArray[np.str_],
    enrolled: int,
    *,
    probes: Sequence[Features | FailureToAcquire] | None = None,
) -> TrialScores:
    """One try: every picture of ``people`` once against its owner, and as an impostor against everybody else.

    People with fewer than ``enrolled`` other pictures are impostors only. ``probes`` stand in for ``acquired`` where
    the pictures are laid, not where they enroll.
    """
    rows = _rows(images, acquired, numbers, people, probes)
    genuine: list[float] = []
    genuine_at: list[int] = []
    impostor: list[NDArray[np.float64]] = []
    impostor_at: list[tuple[int, NDArray[np.intp]]] = []
    for at, subject in enumerate(rows.subjects):
        own = rows.subjects == subject
        others = [int(one) for one in np.flatnonzero(own) if one != at]
        scores = rows.scores(others[:enrolled]) if len(others) >= enrolled else None
        if scores is None:
            continue
        genuine.append(float(scores[at]))
        genuine_at.append(at)
        impostor.append(scores[~own])
        impostor_at.append((at, np.flatnonzero(~own)))
    nothing = [np.empty(0, dtype=np.intp)]
    owners = np.concatenate([*nothing, *(np.full(len(others), at, dtype=np.intp) for at, others in impostor_at)])
    laid = np.concatenate([*nothing, *(others for _, others in impostor_at)])
    return TrialScores(
        np.array(genuine),
        rows.subjects[genuine_at],
        np.concatenate(impostor) if impostor else np.empty(0),
        np.stack([rows.subjects[owners], rows.subjects[laid]], axis=1),
        genuine_files=rows.files[genuine_at],
        impostor_files=np.stack([rows.files[owners], rows.files[laid]], axis=1),
    )


def transactions_among(
    images: Sequence[LabelledImage],
    acquired: Sequence[Features | FailureToAcquire],
    numbers: FittedNumbers,
    people: NDArray[np.str_],
    *,
    tries: int = TRIES,
    enrolled: int = 3,
) -> TrialScores:
    """Transactions of up to ``tries`` tries, each scored by its best one.

    A person's last ``tries`` pictures are the tries, those before enroll (at most ``enrolled``), so people need one
    picture more than there are tries. Every impostor tries with his last pictures likewise.
    """
    rows = _rows(images, acquired, numbers, people)
    genuine: list[float] = []
    genuine_subjects: list[str] = []
    impostor: list[float] = []
    impostor_subjects: list[tuple[str, str]] = []
    able = [one for one in np.unique(rows.subjects) if int(np.sum(rows.subjects == one)) > tries]
    for subject in able:
        own = np.flatnonzero(rows.subjects == subject)
        scores = rows.scores([int(one) for one in own[:-tries][:enrolled]])
        if scores is None:
            continue
        for other in able:
            best = float(np.min(scores[np.flatnonzero(rows.subjects == other)[-tries:]]))
            if other == subject:
                genuine.append(best)
                genuine_subjects.append(str(subject))
            else:
                impostor.append(best)
                impostor_subjects.append((str(subject), str(other)))
    return TrialScores(
        np.array(genuine),
        np.array(genuine_subjects, dtype=np.str_),
        np.array(impostor),
        np.array(impostor_subjects, dtype=np.str_).reshape(-1, 2),
    )
