"""``canteen-evaluate``: compares trials, fits the shipped numbers, and measures them on people kept apart."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from hand_geometry.comparison import DEFAULT_THRESHOLD
from hand_geometry.errors import FittedNumbersError, TrialsError
from hand_geometry.fitted_numbers import NUMBERS_FILE
from hand_geometry.ground import platen_in
from hand_geometry.height_numbers import HEIGHT_NUMBERS_FILE
from hand_geometry.image_decoding import read_image
from hand_geometry.language import LANGUAGES
from hand_geometry.mask import NO_MASK
from hand_geometry.masked_numbers import SUPPORTED_MASKS
from hand_geometry.performance import (
    FALSE_MATCH_RATES,
    Estimate,
    TrialScores,
    equal_error_rate,
    false_non_match_rate,
    matches_at,
    rejects_at,
    subject_bootstrap,
)
from hand_geometry.policy import CURVES_FILE, PUPILS, ThresholdPolicy, expected_rejects, read_curves
from hand_geometry.posture import Posture
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import encode_png
from hand_geometry.trials import Outcome, read_trials, run_trials, write_results

if TYPE_CHECKING:
    from hand_geometry.fit import AcquiredSet

EXIT_OK = 0
# 2 is what argparse uses for wrong arguments.
EXIT_INPUT = 1


NOBODY_TO_MEASURE = "nobody to measure: it takes two people at least, with pictures that can be measured"


def _at_least_one(untrusted_text: str) -> int:
    """A count on the command line. Raises ArgumentTypeError."""
    if not untrusted_text.isdecimal() or len(untrusted_text) > 6 or int(untrusted_text) == 0:
        raise argparse.ArgumentTypeError("a whole number from 1 on")
    return int(untrusted_text)


def _say(line: str) -> None:
    """One line of the answer, on stdout."""
    sys.stdout.write(line + "\n")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="canteen-evaluate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    compare = commands.add_parser("compare", help="compare the trials of a CSV file; a lower score is closer")
    compare.add_argument("--trials", type=Path, required=True, help="CSV with the columns trial, enrolment, probe")
    compare.add_argument("--out", type=Path, required=True, help="CSV to write: trial, outcome, score, reason")
    _add_platen(compare)

    fit = commands.add_parser("fit", help="fit the shipped numbers anew from folders with an index.csv")
    fit.add_argument("--set", action="append", required=True, metavar="[PLATEN=]FOLDER", dest="sets")
    fit.add_argument("--mean", action="append", default=[], metavar="[PLATEN=]FOLDER", help="sets for their mean alone")
    fit.add_argument("--out", type=Path, default=NUMBERS_FILE, help="the numbers for masks go beside it, as masked_…")
    fit.add_argument("--no-masks", action="store_true", help="leave out the numbers for hands with fingers left out")

    fit.add_argument(
        "--only-rates", action="store_true", help="measure the rates of strangers alone: references stay readable"
    )

    check = commands.add_parser("crossvalidate", help="fit on half of the subjects, measure on the other half")
    _measured_on_people_apart(check, seeds=5)
    check.add_argument("--enrolled", type=_at_least_one, default=3, help="enrolment pictures a subject")

    report = commands.add_parser("report", help="ISO/IEC 19795-1 report of a folder with an index.csv, one HTML page")
    report.add_argument("folder", type=Path)
    report.add_argument("--out", type=Path, required=True, help="HTML to write; it names files, never shows a hand")
    _add_platen(report)
    _add_support(report)
    report.add_argument("--enrolled", type=_at_least_one, default=3, help="enrolment pictures a subject")
    report.add_argument("--seeds", type=_at_least_one, default=5, help="how many random halves")
    report.add_argument("--language", choices=LANGUAGES, default=LANGUAGES[0])

    masks = commands.add_parser("masks", help="what leaving fingers out costs, on people kept apart")
    _measured_on_people_apart(masks, seeds=2)
    masks.add_argument(
        "--painted", action="store_true", help="paint these fingers over first, down to a stump, in every picture"
    )
    masks.add_argument("--enrolled", type=_at_least_one, default=3, help="enrolment pictures a subject")

    perturb = commands.add_parser("perturb", help="what a little turning, shift, light, grain and blur change")
    _measured_on_people_apart(perturb, seeds=2)
    perturb.add_argument("--enrolled", type=_at_least_one, default=3, help="enrolment pictures a subject")

    policy = commands.add_parser("policy", help="what each threshold means in rejects a week")
    policy.add_argument("--pupils", type=_at_least_one, default=PUPILS)
    policy.add_argument("--language", choices=LANGUAGES, default=LANGUAGES[0])
    policy.add_argument("--measure", action="append", default=[], metavar="[PLATEN=]FOLDER", help="measure anew first")
    policy.add_argument("--out", type=Path, default=CURVES_FILE, help="where measured curves are written")

    show = commands.add_parser("show", help="draw what was measured over a picture, for a human to check")
    show.add_argument("image", type=Path)
    show.add_argument("--out", type=Path, required=True, help="PNG to write; it shows the hand: keep it as private")
    _add_platen(show)
    _add_simulations(commands)
    return parser


def _add_platen(command: argparse.ArgumentParser) -> None:
    """What the hands of its pictures lie on."""
    command.add_argument(
        "--platen",
        type=Platen,
        choices=list(Platen),
        help="what the hands lie on; the pictures show it where not given",
    )


def _add_support(command: argparse.ArgumentParser) -> None:
    """Sets that are fitted on, and not measured."""
    command.add_argument(
        "--support", action="append", default=[], metavar="[PLATEN=]FOLDER", help="sets of other people"
    )


def _measured_on_people_apart(command: argparse.ArgumentParser, *, seeds: int) -> None:
    """What a command that fits on half of a folder's people is told."""
    command.add_argument("folder", type=Path)
    _add_platen(command)
    _add_support(command)
    command.add_argument("--seeds", type=_at_least_one, default=seeds, help="how many random halves")


def _add_simulations(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands about drawn people, growth and attacks."""
    growth = commands.add_parser("growth", help="simulate a school year of growing children, with and without updates")
    growth.add_argument("--children", type=_at_least_one, default=600)
    growth.add_argument("--seed", type=int, default=0)

    synthetic = commands.add_parser("synthetic", help="how far synthetic people's measurements are from a real set's")
    synthetic.add_argument("sets", metavar="[PLATEN=]FOLDER", nargs=1)
    synthetic.add_argument("--people", type=_at_least_one, default=40)
    synthetic.add_argument("--fit", action="store_true", help="draw people after this set from now on")

    attacks = commands.add_parser("attacks", help="simulated presentation attacks, by kind")
    attacks.add_argument("--people", type=_at_least_one, default=20)
    attacks.add_argument(
        "--mirror", choices=("both", "without", "with"), default="both", help="the reader's side mirror"
    )
    attacks.add_argument("--folder", type=Path, help="a set on a dark ground instead of synthetic people")

    readers = commands.add_parser("readers", help="simulated people enrolled on one reader and laid on another")
    readers.add_argument("--people", type=_at_least_one, default=120)

    heights = commands.add_parser("heights", help="fit the numbers for heights anew, from simulated people")
    heights.add_argument("--people", type=_at_least_one, default=120)
    heights.add_argument("--out", type=Path, default=HEIGHT_NUMBERS_FILE)


def _compare(arguments: argparse.Namespace) -> int:
    trials = read_trials(arguments.trials)
    results = run_trials(trials, arguments.platen)
    write_results(arguments.out, results)
    counts = {outcome: sum(one.outcome is outcome for one in results) for outcome in Outcome}
    _say(", ".join(f"{count} {outcome.value}" for outcome, count in counts.items()))
    return EXIT_OK


def _show(arguments: argparse.Namespace) -> int:
    from hand_geometry.overlay import draw_overlay

    image = read_image(arguments.image)
    if image is None:
        raise TrialsError(f"{arguments.image}: no picture that can be read")
    drawn, reason = draw_overlay(image, arguments.platen or platen_in(image))
    arguments.out.write_bytes(encode_png(drawn))
    _say("measured" if reason is None else f"not measured: {reason}")
    return EXIT_OK


def _sets(given: list[str]) -> list[AcquiredSet]:
    """Measures the folders named as FOLDER or PLATEN=FOLDER."""
    from hand_geometry.fit import acquire_set

    sets = []
    for one in given:
        platen, parted, folder = one.partition("=")
        if Path(one).is_dir():
            sets.append(acquire_set(Path(one)))
        elif parted and folder and platen in list(Platen):
            sets.append(acquire_set(Path(folder), Platen(platen)))
        else:
            raise TrialsError(f"{one}: FOLDER or PLATEN=FOLDER is needed, PLATEN one of {', '.join(Platen)}")
    return sets


def _fit(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import calibrate_anew, fit_and_save, fit_and_save_masked

    sets = _sets(arguments.sets)
    masked = arguments.out.with_name(f"masked_{arguments.out.name}")
    if arguments.only_rates:
        calibrate_anew(sets, arguments.out, masked)
        return EXIT_OK
    means = _sets(arguments.mean)
    fit_and_save(sets, arguments.out, means=means)
    if not arguments.no_masks:
        fit_and_save_masked(sets, masked, means=means)
    for one in (*sets, *means):
        _say(f"{one.name}: {one.posture}, {len(one.images)} pictures, {one.failures} not measured")
    return EXIT_OK


def _crossvalidate(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set, cross_validate

    measured = acquire_set(arguments.folder, arguments.platen)
    pictures = Counter(one.subject for one in measured.images).values()
    if sum(count > arguments.enrolled for count in pictures) < 2:
        raise TrialsError(f"{measured.name}: too few people with more than {arguments.enrolled} pictures")
    support = _sets(arguments.support)
    scores = cross_validate(measured, support, enrolled=arguments.enrolled, seeds=arguments.seeds)
    _say(f"pictures {len(measured.images)}, failures to acquire {measured.failures}")
    genuine, impostor = sum(len(fold.genuine) for fold in scores), sum(len(fold.impostor) for fold in scores)
    _say(f"{len(scores)} folds, genuine {genuine}, impostor {impostor} trials (failures counted as rejects)")
    people = len({str(subject) for fold in scores for subject in fold.genuine_subjects})
    _say(f"equal error rate          {subject_bootstrap(scores, equal_error_rate).told(people)}")
    for rate in FALSE_MATCH_RATES:
        estimate = subject_bootstrap(scores, partial(false_non_match_rate, false_match_rate=rate))
        _say(f"false non-match at {100 * rate:g} %   {estimate.told(people)}")
    return EXIT_OK


def _masks(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set, cross_validate

    measured, support = acquire_set(arguments.folder, arguments.platen), _sets(arguments.support)
    if arguments.painted:
        return _painted_masks(arguments, measured, support)
    _say("left out          equal error   at the threshold of 0.1 %: rejected, strangers accepted")
    for mask in (NO_MASK, *SUPPORTED_MASKS):
        folds = cross_validate(measured, support, enrolled=arguments.enrolled, seeds=arguments.seeds, mask=mask)
        equal = subject_bootstrap(folds, equal_error_rate, rounds=100)
        rejected, accepted = _at_the_usual_threshold(folds)
        _say(f"{mask.names:17s} {100 * equal.value:.2f} %        {rejected}   {accepted}")
    return EXIT_OK


def _painted_masks(arguments: argparse.Namespace, measured: AcquiredSet, support: Sequence[AcquiredSet]) -> int:
    from hand_geometry.painted_fingers import painted_trials

    _say(
        "painted over      not measured, as the other hand   "
        "at the threshold of 0.1 %: rejected, strangers accepted, those with a whole hand"
    )
    for one in painted_trials(measured, support, enrolled=arguments.enrolled, seeds=arguments.seeds):
        rejected, accepted = _at_the_usual_threshold(one.folds)
        _, whole = _at_the_usual_threshold(one.whole)
        failed, other = (one.failures(other_hand=side) for side in (False, True))
        _say(f"{one.mask.names:17s} {failed:3d}, {other:3d} of {len(one.acquired)}   {rejected}   {accepted}   {whole}")
    return EXIT_OK


def _at_the_usual_threshold(folds: Sequence[TrialScores]) -> tuple[Estimate, Estimate]:
    """Rejects and strangers accepted at 0.1 %."""
    rejected, accepted = (
        subject_bootstrap(folds, partial(one, threshold=DEFAULT_THRESHOLD.value), rounds=100)
        for one in (rejects_at, matches_at)
    )
    if isnan(rejected.value) or isnan(accepted.value):
        raise TrialsError(NOBODY_TO_MEASURE)
    return rejected, accepted


def _perturb(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set
    from hand_geometry.set_perturbations import perturbed_trials

    measured, support = acquire_set(arguments.folder, arguments.platen), _sets(arguments.support)
    _say("change                 not measured   at the threshold of 0.1 %: rejected, strangers accepted")
    for one in perturbed_trials(measured, support, enrolled=arguments.enrolled, seeds=arguments.seeds):
        rejected, accepted = _at_the_usual_threshold(one.folds)
        _say(f"{one.name:22s} {one.failures:4d} of {len(one.acquired):4d}   {rejected}   {accepted}")
    return EXIT_OK


def _policy(arguments: argparse.Namespace) -> int:
    if arguments.measure:
        from hand_geometry.policy_curves import measure_curves

        measure_curves(_sets(arguments.measure), arguments.out)
    for posture, curve in read_curves(CURVES_FILE).items():
        _say(f"{posture}: {curve['people']} people, {curve['pictures']} pictures, measured on {curve['measured_on']}")
        for choice in ThresholdPolicy:
            expected = expected_rejects(choice, posture=Posture(posture), pupils=arguments.pupils)
            _say(f"  {expected.sentence(arguments.language)}")
    return EXIT_OK


def _synthetic(arguments: argparse.Namespace) -> int:
    from hand_geometry.sample_distances import chance_level, distances, fit_spread, measured_people, person_means
    from hand_geometry.synthetic_people import draw_person

    real = _sets(arguments.sets)[0].labelled()
    if len(real.people) < 2:
        raise TrialsError(NOBODY_TO_MEASURE)
    if arguments.fit:
        fit_spread(real)
    values, failed = measured_people(draw_person, arguments.people)
    if not len(values):
        raise TrialsError("no synthetic person could be measured")
    _say(f"{len(real.people)} real people, {len(values)} synthetic ones measured, {failed} not measured")
    _say(
        f"Kolmogorov-Smirnov distances; under {chance_level(len(real.people), len(values)):.2f} is chance; no accuracy"
    )
    for one in distances(person_means(real), values):
        _say(
            f"{one.group:8s} median {one.median:.2f}  largest {one.largest:.2f}  beyond chance {one.beyond_chance:.0%}"
        )
    return EXIT_OK


def _attacks(arguments: argparse.Namespace) -> int:
    from hand_geometry.presentation_attacks import attack_set, simulate_attacks

    _say("built from pictures; what is made of real things may do better or worse")
    heading = "kind                    presented  measured  accepted at 0.1 %"
    if arguments.folder:
        tables = {heading: attack_set(arguments.folder, arguments.people)}
    else:
        readers = {"without": (False,), "with": (True,), "both": (False, True)}[arguments.mirror]
        tables = {
            f"{heading}, {'with a side' if mirror else 'without a'} mirror": simulate_attacks(
                arguments.people, mirror=mirror
            )
            for mirror in readers
        }
    for title, found in tables.items():
        if not any(one.presented for one in found):
            raise TrialsError(NOBODY_TO_MEASURE)
        _say(title)
        for one in found:
            _say(f"{one.kind.value:22s}  {one.presented:9d}  {one.measured:8d}  {one.accepted:8d}  {one.estimate}")
    return EXIT_OK


def _readers(arguments: argparse.Namespace) -> int:
    from hand_geometry.reader_interoperability import exchange_readers

    found = exchange_readers(arguments.people)
    _say("simulated people on two simulated readers, calibrated by the sheet and the block: the ratio counts, no rate")
    _say(f"{found.people} people, {found.not_enrolled} more could not be enrolled on both readers")
    _say("refused on the same reader   across     ratio, 95 % by resampling people")
    for row in found.strict:
        ratio = f"{row.ratio.value:.2f} [{row.ratio.low:.2f}, {row.ratio.high:.2f}]"
        _say(f"{100 * row.same:22.2f} %   {100 * row.across:5.2f} %   {ratio}")
    for policy, row in found.in_use.items():
        _say(
            f"at the threshold of {100 * policy.false_match_rate:g} %: "
            f"{100 * row.same:.2f} % on the same reader, {100 * row.across:.2f} % across"
        )
    _say(f"without calibration, {100 * found.uncalibrated:.1f} % are refused across at the threshold of 0.1 %")
    return EXIT_OK


def _heights(arguments: argparse.Namespace) -> int:
    from hand_geometry.height_profile import LEAST_RISE
    from hand_geometry.height_simulation import DRAWN_PEOPLE, drawn_rises, fit_heights

    found = fit_heights(arguments.people, arguments.out)
    _say("simulated people in a simulated side mirror; no set of real hands shows a side, so this is no accuracy")
    _say(f"{found.people} people, {found.placements} placements measured, {found.failures} not measured")
    _say(f"{found.even} refused as everywhere as high; the least rise of the others is {found.least_rise:.2f}-fold")
    rises = drawn_rises(DRAWN_PEOPLE)
    even = int((rises < LEAST_RISE).sum())
    _say(f"seen straight from the side, {even} of {len(rises)} drawn placements; least rise {rises.min():.2f}-fold")
    _say(
        f"something is added to {found.right_hands_charged:.1%} of right hands, "
        f"{found.strangers_charged:.1%} of strangers"
    )
    _say(f"to half of the strangers at least {found.strangers_median:.1f}, in units of a log likelihood ratio")
    return EXIT_OK


def _growth(arguments: argparse.Namespace) -> int:
    from hand_geometry.growth_simulation import simulate_school_year

    _say("simulated school year, ages 11 to 15, three passes a week, first tries at one stranger in a thousand;")
    _say("people and growth are drawn, so this is no accuracy")
    for updates in (True, False):
        year = simulate_school_year(arguments.children, updates=updates, seed=arguments.seed)
        _say(f"{'with' if updates else 'without'} updates: {year.children} children, {year.passes} passes")
        ratio = year.end / year.start if year.start else float("nan")
        _say(f"  rejects, first and last four weeks  {100 * year.start:.2f} % {100 * year.end:.2f} % (x {ratio:.2f})")
        _say(f"  updates a child {year.updates:.0f}, refused as beyond growth {100 * year.refused:.2f} %")
        _say(f"  invited to enroll anew {100 * year.invited:.1f} % of the children")
        first = f", {100 * year.invited_first:.0f} % of them invited before" if year.invited_first is not None else ""
        _say(f"  rejected three times running {100 * year.rejected:.1f} %{first}")
        _say(f"  strangers accepted in June {100 * year.stranger_rate:.3f} %")
    return EXIT_OK


def _report(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set
    from hand_geometry.report import report_page
    from hand_geometry.set_evaluation import evaluate_set

    measured = acquire_set(arguments.folder, arguments.platen)
    found = evaluate_set(measured, _sets(arguments.support), enrolled=arguments.enrolled, seeds=arguments.seeds)
    page = report_page(found, language=arguments.language, written=datetime.now(UTC))
    try:
        arguments.out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise TrialsError(f"{arguments.out}: cannot be written ({type(error).__name__})") from error
    _say(f"{found.subjects} subjects, {found.images} pictures, {sum(found.failures.values())} not measured")
    people = found.people_with_trials
    _say(f"equal error rate          {found.equal_error.told(people)}")
    for row in found.rates:
        _say(f"false non-match at {100 * row.false_match_rate:g} %   {row.one_try.told(people)}")
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = _arguments().parse_args(argv)
    cv2.setNumThreads(1)
    actions = {
        "compare": _compare,
        "fit": _fit,
        "crossvalidate": _crossvalidate,
        "show": _show,
        "report": _report,
        "growth": _growth,
        "masks": _masks,
        "perturb": _perturb,
        "synthetic": _synthetic,
        "attacks": _attacks,
        "policy": _policy,
        "readers": _readers,
        "heights": _heights,
    }
    try:
        return actions[arguments.command](arguments)
    except (TrialsError, FittedNumbersError) as error:
        sys.stderr.write(f"canteen-evaluate: {error}\n")
        return EXIT_INPUT
    except OSError as error:  # a folder where a file is to be written, a disk that is full
        sys.stderr.write(f"canteen-evaluate: {error.filename or 'the output'}: {error.strerror}\n")
        return EXIT_INPUT


if __name__ == "__main__":
    sys.exit(main())
