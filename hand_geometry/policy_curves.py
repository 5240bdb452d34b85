"""Measures what each threshold costs, on sets of real hands and people kept apart, and writes it for ``policy``."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.acquisition import Features
from hand_geometry.fit import AcquiredSet, held_out_folds
from hand_geometry.fitted_numbers import FittedNumbers
from hand_geometry.performance import matches_at, rejects_at, rule_of_three, subject_bootstrap
from hand_geometry.policy import CURVES_FORMAT, ThresholdPolicy
from hand_geometry.scoring import calibrated, raw_score
from hand_geometry.set_trials import trials_among

SEEDS = 10
ENROLLED = 3


def measure_curves(sets: Sequence[AcquiredSet], out: Path, *, seeds: int = SEEDS) -> dict[str, Any]:
    """One curve a set, under the name of its posture, each supported by the other sets."""
    curves = {one.posture.value: _curve(one, [other for other in sets if other is not one], seeds) for one in sets}
    text = json.dumps({"format": CURVES_FORMAT, "curves": curves}, indent=2, sort_keys=True)
    out.write_text(text + "\n", encoding="utf-8")
    return curves


def _curve(measured: AcquiredSet, support: Sequence[AcquiredSet], seeds: int) -> dict[str, Any]:
    days = _days(measured)
    folds, single, later = [], [], []
    for numbers, people in held_out_folds(measured, support, seeds=seeds):
        folds.append(trials_among(measured.images, measured.acquired, numbers, people, ENROLLED))
        single.append(trials_among(measured.images, measured.acquired, numbers, people, 1))
        later.append(_on_another_day(measured, days, numbers, people))
    on_other_days = np.concatenate(later)
    tested = len({str(one) for fold in folds for one in fold.genuine_subjects})
    rates = {}
    for policy in ThresholdPolicy:
        at = policy.threshold.value
        rejects = subject_bootstrap(folds, partial(rejects_at, threshold=at))
        accepted = subject_bootstrap(folds, partial(matches_at, threshold=at))
        # Nothing seen is not nothing. Counted by pictures: those of one person hang together, so it is rather more.
        high = max(rejects.high, rule_of_three(sum(len(fold.genuine) for fold in folds) // seeds))
        rates[f"{policy.false_match_rate:g}"] = {
            "threshold": at,
            "rejects": round(rejects.value, 6),
            "rejects_low": round(rejects.low, 6),
            "rejects_high": round(high, 6),
            "rejects_on_another_day": round(float(np.mean(on_other_days > at)), 6) if len(on_other_days) else None,
            "strangers_accepted": round(accepted.value, 6),
            "strangers_accepted_low": round(accepted.low, 6),
            "strangers_accepted_high": round(accepted.high, 6),
            "one_picture_rejects": round(subject_bootstrap(single, partial(rejects_at, threshold=at)).value, 6),
            "one_picture_strangers_accepted": round(
                subject_bootstrap(single, partial(matches_at, threshold=at)).value, 6
            ),
        }
    return {
        "set": measured.name,
        "platen": measured.platen.value,
        "measured_on": datetime.now(UTC).date().isoformat(),
        "people": tested,
        "pictures": len(measured.images),
        "folds": len(folds),
        "genuine_trials": sum(len(fold.genuine) for fold in folds),
        "impostor_trials": sum(len(fold.impostor) for fold in folds),
        "trials_on_another_day": len(on_other_days),
        "enrolled": ENROLLED,
        "protocol": "fitted on half of the people, measured on the other half; failures to acquire are rejects",
        "rates": rates,
    }


def _days(measured: AcquiredSet) -> dict[str, str]:
    """On which day each file was taken, where ``index.csv`` says so."""
    with (measured.images[0].path.parent / "index.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["file"]: row.get("captured_on") or "" for row in csv.DictReader(file)}


def _on_another_day(
    measured: AcquiredSet, days: dict[str, str], numbers: FittedNumbers, people: NDArray[np.str_]
) -> NDArray[np.float64]:
    """Genuine scores of pictures against all pictures of the same person's first day."""
    scores = []
    for person in people:
        own = [
            (days[i.path.name], a)
            for i, a in zip(measured.images, measured.acquired, strict=True)
            if i.subject == person
        ]
        known = sorted({day for day, _ in own if day})
        if len(known) < 2:
            continue
        enrolled = [numbers.project(a.values) for day, a in own if day == known[0] and isinstance(a, Features)]
        if not enrolled:
            continue
        for day, acquired in own:
            if day in known[1:]:
                probe = numbers.project(acquired.values) if isinstance(acquired, Features) else None
                raw = (
                    raw_score(numbers, np.mean(enrolled, axis=0), len(enrolled), probe) if probe is not None else np.inf
                )
                scores.append(calibrated(numbers, raw, len(enrolled)) if np.isfinite(raw) else np.inf)
    return np.array(scores, dtype=np.float64)
