"""``canteen-evaluate``: compares trials, fits the shipped numbers, and measures them on people kept apart."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from hand_geometry.errors import FittedNumbersError, TrialsError
from hand_geometry.fitted_numbers import NUMBERS_FILE
from hand_geometry.image_decoding import decode_image
from hand_geometry.language import LANGUAGES
from hand_geometry.performance import FALSE_MATCH_RATES, equal_error_rate, false_non_match_rate, subject_bootstrap
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import encode_png
from hand_geometry.trials import Outcome, read_trials, run_trials, write_results

if TYPE_CHECKING:
    from hand_geometry.fit import AcquiredSet

EXIT_OK = 0
# 2 is what argparse uses for wrong arguments.
EXIT_INPUT = 1


def _say(line: str) -> None:
    """One line of the answer, on stdout."""
    sys.stdout.write(line + "\n")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="canteen-evaluate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    platens = [platen.value for platen in Platen]

    compare = commands.add_parser("compare", help="compare the trials of a CSV file; a lower score is closer")
    compare.add_argument("--trials", type=Path, required=True, help="CSV with the columns trial, enrolment, probe")
    compare.add_argument("--out", type=Path, required=True, help="CSV to write: trial, outcome, score, reason")
    compare.add_argument("--platen", choices=platens, default=Platen.DARK.value)

    fit = commands.add_parser("fit", help="fit the shipped numbers anew from folders with an index.csv")
    fit.add_argument("--set", action="append", required=True, metavar="PLATEN=FOLDER", dest="sets")
    fit.add_argument("--mean", action="append", default=[], metavar="PLATEN=FOLDER", help="sets for their mean alone")
    fit.add_argument("--out", type=Path, default=NUMBERS_FILE)

    check = commands.add_parser("crossvalidate", help="fit on half of the subjects, measure on the other half")
    check.add_argument("folder", type=Path)
    check.add_argument("--platen", choices=platens, default=Platen.DARK.value)
    check.add_argument("--support", action="append", default=[], metavar="PLATEN=FOLDER", help="sets of other people")
    check.add_argument("--enrolled", type=int, default=3, help="enrolment pictures a subject")
    check.add_argument("--seeds", type=int, default=5, help="how many random halves")

    report = commands.add_parser(
        "report", help="ISO/IEC 19795-1 report of a folder with an index.csv, one HTML page"
    )
    report.add_argument("folder", type=Path)
    report.add_argument("--out", type=Path, required=True, help="HTML to write; it names files, never shows a hand")
    report.add_argument("--platen", choices=platens, help="what the hands lie on; found by trying where not given")
    report.add_argument("--support", action="append", default=[], metavar="PLATEN=FOLDER", help="sets of other people")
    report.add_argument("--enrolled", type=int, default=3, help="enrolment pictures a subject")
    report.add_argument("--seeds", type=int, default=5, help="how many random halves")
    report.add_argument("--language", choices=LANGUAGES, default=LANGUAGES[0])

    show = commands.add_parser("show", help="draw what was measured over a picture, for a human to check")
    show.add_argument("image", type=Path)
    show.add_argument("--out", type=Path, required=True, help="PNG to write; it shows the hand: keep it as private")
    show.add_argument("--platen", choices=platens, default=Platen.DARK.value)
    return parser


def _compare(arguments: argparse.Namespace) -> int:
    trials = read_trials(arguments.trials)
    results = run_trials(trials, Platen(arguments.platen))
    write_results(arguments.out, results)
    counts = {outcome: sum(one.outcome is outcome for one in results) for outcome in Outcome}
    _say(", ".join(f"{count} {outcome.value}" for outcome, count in counts.items()))
    return EXIT_OK


def _show(arguments: argparse.Namespace) -> int:
    from hand_geometry.overlay import draw_overlay

    image = decode_image(arguments.image.read_bytes()) if arguments.image.is_file() else None
    if image is None:
        raise TrialsError(f"{arguments.image}: no picture that can be read")
    drawn, reason = draw_overlay(image, Platen(arguments.platen))
    arguments.out.write_bytes(encode_png(drawn))
    _say("measured" if reason is None else f"not measured: {reason}")
    return EXIT_OK


def _sets(given: list[str]) -> list[AcquiredSet]:
    """Measures the folders named as PLATEN=FOLDER."""
    from hand_geometry.fit import acquire_set

    sets = []
    for one in given:
        platen, _, folder = one.partition("=")
        if platen not in [known.value for known in Platen] or not folder:
            raise TrialsError(f"{one}: PLATEN=FOLDER is needed, PLATEN one of {', '.join(Platen)}")
        sets.append(acquire_set(Path(folder), Platen(platen)))
    return sets


def _fit(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import fit_and_save

    sets = _sets(arguments.sets)
    means = _sets(arguments.mean)
    fit_and_save(sets, arguments.out, means=means)
    for one in (*sets, *means):
        _say(f"{one.name}: {one.posture}, {len(one.images)} pictures, {one.failures} not measured")
    return EXIT_OK


def _crossvalidate(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set, cross_validate

    measured = acquire_set(arguments.folder, Platen(arguments.platen))
    support = _sets(arguments.support)
    scores = cross_validate(measured, support, enrolled=arguments.enrolled, seeds=arguments.seeds)
    _say(f"pictures {len(measured.images)}, failures to acquire {measured.failures}")
    genuine, impostor = sum(len(fold.genuine) for fold in scores), sum(len(fold.impostor) for fold in scores)
    _say(f"{len(scores)} folds, genuine {genuine}, impostor {impostor} trials (failures counted as rejects)")
    _say(f"equal error rate          {subject_bootstrap(scores, equal_error_rate)}")
    for rate in FALSE_MATCH_RATES:
        estimate = subject_bootstrap(scores, partial(false_non_match_rate, false_match_rate=rate))
        _say(f"false non-match at {100 * rate:g} %   {estimate}")
    return EXIT_OK


def _report(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set
    from hand_geometry.report import report_page
    from hand_geometry.set_evaluation import evaluate_set, platen_of

    platen = Platen(arguments.platen) if arguments.platen else platen_of(arguments.folder)
    measured = acquire_set(arguments.folder, platen)
    found = evaluate_set(measured, _sets(arguments.support), enrolled=arguments.enrolled, seeds=arguments.seeds)
    page = report_page(found, language=arguments.language, written=datetime.now(UTC))
    try:
        arguments.out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise TrialsError(f"{arguments.out}: cannot be written ({type(error).__name__})") from error
    _say(f"{found.subjects} subjects, {found.images} pictures, {sum(found.failures.values())} not measured")
    _say(f"equal error rate          {found.equal_error}")
    for row in found.rates:
        _say(f"false non-match at {100 * row.false_match_rate:g} %   {row.one_try}")
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = _arguments().parse_args(argv)
    cv2.setNumThreads(1)
    actions = {"compare": _compare, "fit": _fit, "crossvalidate": _crossvalidate, "show": _show, "report": _report}
    try:
        return actions[arguments.command](arguments)
    except (TrialsError, FittedNumbersError) as error:
        sys.stderr.write(f"canteen-evaluate: {error}\n")
        return EXIT_INPUT


if __name__ == "__main__":
    sys.exit(main())
