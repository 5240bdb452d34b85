"""A file of trials is read, every trial is compared, and its scores are written."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hand_geometry.acquisition import FailureToAcquire
from hand_geometry.comparison import compare
from hand_geometry.errors import TrialsError
from hand_geometry.ground import platen_among
from hand_geometry.image_set import Acquired, acquire_files, progress_bar
from hand_geometry.language import _, trouble
from hand_geometry.quality import QualityReason
from hand_geometry.reference import FailureToEnroll, Reference, make_reference
from hand_geometry.silhouette import Platen


class Outcome(StrEnum):
    """What became of a trial."""

    COMPARED = "compared"
    FAILURE_TO_ENROLL = "failure_to_enroll"
    FAILURE_TO_ACQUIRE = "failure_to_acquire"


@dataclass(frozen=True)
class Trial:
    """One row: pictures to enroll, and a picture to compare with them."""

    name: str
    enrolment: tuple[Path, ...]
    probe: Path


@dataclass(frozen=True)
class TrialResult:
    """The outcome; the score only where something was compared, the reason only where not."""

    name: str
    outcome: Outcome
    score: float | None = None
    reason: QualityReason | None = None


def read_trials(path: Path) -> list[Trial]:
    """Reads the columns trial, enrolment (paths joined by ``|``) and probe; paths are relative to the file.

    Raises:
        TrialsError: The file or a row of it makes no sense; nothing is compared then.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"trial", "enrolment", "probe"} - set(reader.fieldnames or ())
            if missing:
                raise TrialsError(_("{path} : la colonne {column} manque").format(path=path, column=min(missing)))
            trials = []
            for row in reader:
                images = [part.strip() for part in (row["enrolment"] or "").split("|")]
                probe = (row["probe"] or "").strip()
                if not row["trial"] or not probe or not all(images):
                    raise TrialsError(
                        _("{path}, ligne {line} : il faut trial, enrolment et probe").format(
                            path=path, line=reader.line_num
                        )
                    )
                trials.append(Trial(row["trial"], tuple(path.parent / one for one in images), path.parent / probe))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrialsError(_("{path} : illisible ({trouble})").format(path=path, trouble=trouble(error))) from error
    return trials


def enroll_from(pictures: list[Acquired]) -> Reference | FailureToEnroll:
    """Enrolls on the pictures that could be measured and that agree: at a station the others would be taken again."""
    samples = [one for one in pictures if not isinstance(one, FailureToAcquire)]
    if not samples:
        failures = [one.reason for one in pictures if isinstance(one, FailureToAcquire)]
        return FailureToEnroll(failures[0] if failures else QualityReason.TOO_FEW_SAMPLES)
    made = make_reference(samples)
    if isinstance(made, FailureToEnroll) and made.odd_sample is not None:
        made = make_reference([one for at, one in enumerate(samples) if at != made.odd_sample])
    return made


def run_trials(trials: list[Trial], platen: Platen | None = None) -> list[TrialResult]:
    """Compares every trial; each picture is measured once, each set of enrolment pictures enrolled once.

    The pictures show their platen where none is given.
    """
    paths = [path for trial in trials for path in (*trial.enrolment, trial.probe)]
    acquired = acquire_files(paths, platen or platen_among(paths), title=_("images"))
    references: dict[tuple[Path, ...], Reference | FailureToEnroll] = {}
    results = []
    with progress_bar(_("essais"), len(trials)) as advance:
        for trial in trials:
            if trial.enrolment not in references:
                references[trial.enrolment] = enroll_from([acquired[path] for path in trial.enrolment])
            results.append(_result(trial, references[trial.enrolment], acquired[trial.probe]))
            advance()
    return results


def _result(trial: Trial, reference: Reference | FailureToEnroll, probe: Acquired) -> TrialResult:
    if isinstance(reference, FailureToEnroll):
        return TrialResult(trial.name, Outcome.FAILURE_TO_ENROLL, reason=reference.reason)
    if isinstance(probe, FailureToAcquire):
        return TrialResult(trial.name, Outcome.FAILURE_TO_ACQUIRE, reason=probe.reason)
    return TrialResult(trial.name, Outcome.COMPARED, score=compare(reference, probe).value)


def write_results(path: Path, results: list[TrialResult]) -> None:
    """Writes the columns trial, outcome, score (lower is closer) and reason."""
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["trial", "outcome", "score", "reason"])
            for one in results:
                score = "" if one.score is None else f"{one.score:.6f}"
                writer.writerow([one.name, one.outcome.value, score, one.reason.value if one.reason else ""])
    except OSError as error:
        raise TrialsError(_("{path} : {trouble}").format(path=path, trouble=trouble(error))) from error
