"""What each command of ``canteen-evaluate`` does and says, in the session's language."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from math import isnan
from typing import TYPE_CHECKING

from hand_geometry.comparison import DEFAULT_THRESHOLD
from hand_geometry.errors import TrialsError
from hand_geometry.evaluation_answers import (
    EXIT_OK,
    estimated,
    nobody_to_measure,
    percent,
    ready_for,
    say,
    sets_of,
    told,
    write_whole,
)
from hand_geometry.evaluation_simulations import attacks, growth, heights, readers, synthetic
from hand_geometry.ground import platen_in
from hand_geometry.image_decoding import read_image
from hand_geometry.language import N_, _, number, words_in
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
from hand_geometry.policy import CURVES_FILE, ThresholdPolicy, expected_rejects, read_curves
from hand_geometry.posture import Posture
from hand_geometry.spoken_names import left_out_by, name_of
from hand_geometry.synthetic_hand import encode_png
from hand_geometry.trials import Outcome, read_trials, run_trials, write_results

if TYPE_CHECKING:
    from hand_geometry.fit import AcquiredSet

_OUTCOMES = {
    Outcome.COMPARED: N_("comparés"),
    Outcome.FAILURE_TO_ENROLL: N_("échecs d’enrôlement"),
    Outcome.FAILURE_TO_ACQUIRE: N_("échecs d’acquisition"),
}


def _compare(arguments: argparse.Namespace) -> int:
    ready_for(arguments.out)
    results = run_trials(read_trials(arguments.trials), arguments.platen)
    write_results(arguments.out, results)
    counts = Counter(one.outcome for one in results)
    say(", ".join(f"{counts[outcome]} {_(said)}" for outcome, said in _OUTCOMES.items()))
    return EXIT_OK


def _show(arguments: argparse.Namespace) -> int:
    from hand_geometry.overlay import draw_overlay

    ready_for(arguments.out)
    image = read_image(arguments.image)
    if image is None:
        raise TrialsError(_("{path} : aucune image lisible").format(path=arguments.image))
    drawn, reason = draw_overlay(image, arguments.platen or platen_in(image))
    write_whole(arguments.out, encode_png(drawn))
    say(_("mesurée") if reason is None else _("pas mesurée : {reason}").format(reason=name_of(reason)))
    return EXIT_OK


def _fit(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import calibrate_anew, fit_and_save, fit_and_save_masked

    ready_for(arguments.out)
    sets = sets_of(arguments.sets)
    masked = arguments.out.with_name(f"masked_{arguments.out.name}")
    if arguments.only_rates:
        calibrate_anew(sets, arguments.out, masked)
        return EXIT_OK
    means = sets_of(arguments.mean)
    fit_and_save(sets, arguments.out, means=means)
    if not arguments.no_masks:
        fit_and_save_masked(sets, masked, means=means)
    for one in (*sets, *means):
        say(
            _("{name} : pose {posture}, {pictures} images, {failures} non mesurées").format(
                name=one.name, posture=name_of(one.posture), pictures=len(one.images), failures=one.failures
            )
        )
    return EXIT_OK


def _crossvalidate(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set, cross_validate

    measured = acquire_set(arguments.folder, arguments.platen)
    pictures = Counter(one.subject for one in measured.images).values()
    if sum(count > arguments.enrolled for count in pictures) < 2:
        raise measured.too_few_people(arguments.enrolled)
    support = sets_of(arguments.support)
    scores = cross_validate(measured, support, enrolled=arguments.enrolled, seeds=arguments.seeds)
    say(
        _("{pictures} images, {failures} non mesurées (échecs d’acquisition)").format(
            pictures=len(measured.images), failures=measured.failures
        )
    )
    say(
        _(
            "{folds} plis, {genuine} essais authentiques, {impostor} d’imposteurs (un échec compte comme un rejet)"
        ).format(
            folds=len(scores),
            genuine=sum(len(fold.genuine) for fold in scores),
            impostor=sum(len(fold.impostor) for fold in scores),
        )
    )
    people = len({str(subject) for fold in scores for subject in fold.genuine_subjects})
    rates = [
        (rate, subject_bootstrap(scores, partial(false_non_match_rate, false_match_rate=rate)))
        for rate in FALSE_MATCH_RATES
    ]
    _say_rates(subject_bootstrap(scores, equal_error_rate), rates, people)
    return EXIT_OK


def _say_rates(equal: Estimate, rates: Sequence[tuple[float, Estimate]], people: int) -> None:
    """The equal error rate, and the rejects at each rate of false matches."""
    named = _("taux d’égale erreur")
    say(f"{named:36s}{told(equal, people)}")
    for rate, found in rates:
        named = _("faux rejets (FNMR) au FMR de {rate}").format(rate=number(f"{100 * rate:g} %"))
        say(f"{named:36s}{told(found, people)}")


def _masks(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set, cross_validate

    measured, support = acquire_set(arguments.folder, arguments.platen), sets_of(arguments.support)
    if arguments.painted:
        return _painted_masks(arguments, measured, support)
    say(_("doigts laissés de côté : taux d’égale erreur ; au seuil de 0,1 % : rejetés, inconnus acceptés"))
    for mask in (NO_MASK, *SUPPORTED_MASKS):
        folds = cross_validate(measured, support, enrolled=arguments.enrolled, seeds=arguments.seeds, mask=mask)
        equal = subject_bootstrap(folds, equal_error_rate, rounds=100)
        rejected, accepted = _at_the_usual_threshold(folds)
        say(f"{left_out_by(mask):22s} {percent(equal.value)}   {estimated(rejected)}   {estimated(accepted)}")
    return EXIT_OK


def _painted_masks(arguments: argparse.Namespace, measured: AcquiredSet, support: Sequence[AcquiredSet]) -> int:
    from hand_geometry.painted_fingers import painted_trials

    say(
        _(
            "doigts effacés : non mesurées, prises pour l’autre main ; au seuil de 0,1 % : rejetés, inconnus acceptés, "
            "dont ceux à la main entière"
        )
    )
    for one in painted_trials(measured, support, enrolled=arguments.enrolled, seeds=arguments.seeds):
        rejected, accepted = _at_the_usual_threshold(one.folds)
        _rejected, whole = _at_the_usual_threshold(one.whole)
        failed, other = (one.failures(other_hand=side) for side in (False, True))
        counted = _("{failed}, {other} sur {pictures}").format(failed=failed, other=other, pictures=len(one.acquired))
        say(
            f"{left_out_by(one.mask):22s} {counted:16s} {estimated(rejected)}   {estimated(accepted)}   "
            f"{estimated(whole)}"
        )
    return EXIT_OK


def _at_the_usual_threshold(folds: Sequence[TrialScores]) -> tuple[Estimate, Estimate]:
    """Rejects and strangers accepted at 0.1 %."""
    rejected, accepted = (
        subject_bootstrap(folds, partial(one, threshold=DEFAULT_THRESHOLD.value), rounds=100)
        for one in (rejects_at, matches_at)
    )
    if isnan(rejected.value) or isnan(accepted.value):
        raise nobody_to_measure()
    return rejected, accepted


def _perturb(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set
    from hand_geometry.set_perturbations import perturbed_trials

    measured, support = acquire_set(arguments.folder, arguments.platen), sets_of(arguments.support)
    say(_("changement : non mesurées ; au seuil de 0,1 % : rejetés, inconnus acceptés"))
    for one in perturbed_trials(measured, support, enrolled=arguments.enrolled, seeds=arguments.seeds):
        rejected, accepted = _at_the_usual_threshold(one.folds)
        counted = _("{failed} sur {pictures}").format(failed=one.failures, pictures=len(one.acquired))
        say(f"{_(one.name):26s} {counted:12s} {estimated(rejected)}   {estimated(accepted)}")
    return EXIT_OK


def _policy(arguments: argparse.Namespace) -> int:
    if arguments.measure:
        from hand_geometry.policy_curves import measure_curves

        ready_for(arguments.out)
        measure_curves(sets_of(arguments.measure), arguments.out)
        read_curves.cache_clear()
    for posture, curve in read_curves(CURVES_FILE).items():
        say(
            words_in(arguments.language)(
                N_("Pose {posture} : {people} personnes, {pictures} images, mesuré le {when}")
            ).format(
                posture=name_of(Posture(posture), arguments.language),
                people=curve["people"],
                pictures=curve["pictures"],
                when=curve["measured_on"],
            )
        )
        for choice in ThresholdPolicy:
            expected = expected_rejects(choice, posture=Posture(posture), pupils=arguments.pupils)
            say(f"  {expected.sentence(arguments.language)}")
    return EXIT_OK


def _report(arguments: argparse.Namespace) -> int:
    from hand_geometry.fit import acquire_set
    from hand_geometry.report import report_page
    from hand_geometry.set_evaluation import evaluate_set

    ready_for(arguments.out)
    measured = acquire_set(arguments.folder, arguments.platen)
    found = evaluate_set(measured, sets_of(arguments.support), enrolled=arguments.enrolled, seeds=arguments.seeds)
    page = report_page(found, language=arguments.language, written=datetime.now(UTC))
    write_whole(arguments.out, page.encode("utf-8"))
    say(
        _("{subjects} personnes (mains), {pictures} images, {failures} non mesurées").format(
            subjects=found.subjects, pictures=found.images, failures=sum(found.failures.values())
        )
    )
    rates = [(row.false_match_rate, row.one_try) for row in found.rates]
    _say_rates(found.equal_error, rates, found.people_with_trials)
    return EXIT_OK


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "compare": _compare,
    "fit": _fit,
    "crossvalidate": _crossvalidate,
    "show": _show,
    "report": _report,
    "growth": growth,
    "masks": _masks,
    "perturb": _perturb,
    "synthetic": synthetic,
    "attacks": attacks,
    "policy": _policy,
    "readers": readers,
    "heights": heights,
}
