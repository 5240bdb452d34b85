"""People drawn as real ones differ, and what is made of their pictures to deceive."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hand_geometry.acquisition import Features, acquire
from hand_geometry.evaluate import EXIT_OK, main
from hand_geometry.growth_model import Sex, mean_length_mm
from hand_geometry.language import words_in
from hand_geometry.measurements import BEND_STATIONS, FEATURE_NAMES
from hand_geometry.posture import Posture
from hand_geometry.presentation_attacks import (
    KINDS,
    AttackKind,
    flat_glove,
    held_above,
    paper_cut_out,
    photo_on_a_sheet,
)
from hand_geometry.sample_distances import chance_level, largest_gap
from hand_geometry.synthetic_people import Look, draw_person, picture_of

LENGTHS = [at for at, name in enumerate(FEATURE_NAMES) if "length" in name]


def measured(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Features:
    """What must be measurable."""
    found = acquire(image)
    assert isinstance(found, Features), found
    return found


def test_same_arguments_same_picture() -> None:
    """Pins the seed, and that person, placement and look each change the picture."""
    first = picture_of(draw_person(1), 0)
    assert np.array_equal(first, picture_of(draw_person(1), 0))
    for other in (
        picture_of(draw_person(1), 1),
        picture_of(draw_person(2), 0),
        picture_of(draw_person(1), 0, Look(light=0.9)),
    ):
        assert not np.array_equal(first, other)
    assert (1200, 1600, 3) == first.shape


def test_a_hand_measures_as_drawn() -> None:
    """Pins that the outline carries the drawn lengths, between pegs that are seen as such."""
    for identity in (1, 3, 4):
        person = draw_person(identity)
        found = measured(picture_of(person, 0))
        assert Posture.GUIDED is found.posture
        assert np.abs((found.values - person.values)[LENGTHS]).max() < 0.06


def test_a_finger_bends_as_drawn_more_than_once() -> None:
    """Pins that an S in a finger's midline, which no single bow has, is measured as asked; and how poses scatter."""
    person = draw_person(3)
    index = [at for at, name in enumerate(FEATURE_NAMES) if name.startswith("index_bend_")]
    wave = 0.008 * np.sin(2.0 * np.pi * np.array(BEND_STATIONS))
    wave -= np.polyval(np.polyfit(BEND_STATIONS, wave, 1), BEND_STATIONS)
    values = person.values.copy()
    values[index] += wave
    plain, bent = measured(picture_of(person, 0)), measured(picture_of(replace(person, values=values), 0))
    seen = (bent.values - plain.values)[index]
    assert 0.8 < np.corrcoef(seen, wave)[0, 1]
    assert 0.6 < float(np.linalg.norm(seen) / np.linalg.norm(wave)) < 1.4
    again = measured(picture_of(person, 1)).values - plain.values
    assert 0.0 < np.abs(again[index]).max() < 0.01


def test_a_child_is_smaller_and_grows() -> None:
    """Pins the size of one drawn girl at three ages to the table of growth."""
    sizes = [draw_person(3, age_years=age, sex=Sex.GIRL).values[LENGTHS].mean() for age in (11, 13, 17)]
    assert pytest.approx(np.log(mean_length_mm(Sex.GIRL, 13) / mean_length_mm(Sex.GIRL, 11))) == sizes[1] - sizes[0]
    assert sizes[1] < sizes[2]
    measured(picture_of(draw_person(3, age_years=11), 0))


@pytest.mark.parametrize(
    "look",
    [
        Look(ring=3),
        Look(sleeve_bgr=(150.0, 40.0, 30.0)),
        Look(skin=0.0),
        Look(skin=1.0, light=0.8),
        Look(colour_cast=(0.9, 1.0, 1.1)),
        Look(barrel=0.03, blur_px=1.0, noise=5.0),
    ],
    ids=str,
)
def test_every_look_can_be_measured(look: Look) -> None:
    """Pins that rings, sleeves, skins, lamps and lenses leave a hand measurable and its lengths nearly the same."""
    person = draw_person(1)
    plain, seen = measured(picture_of(person, 0)), measured(picture_of(person, 0, look))
    assert np.abs((plain.values - seen.values)[LENGTHS]).max() < 0.05


def test_what_the_outline_lets_through_and_what_not() -> None:
    """Pins what can be built: a cut-out keeps the outline, a glove changes it, a sheet and a far hand are no hand."""
    own = picture_of(draw_person(1), 3)
    cut = paper_cut_out(own)
    assert cut is not None
    assert np.abs((measured(cut).values - measured(own).values)[LENGTHS]).max() < 0.03
    gloved = flat_glove(own)
    assert gloved is not None
    assert not isinstance(acquire(photo_on_a_sheet(own)), Features)
    assert held_above(own, 1.3).shape == own.shape
    assert {"bona_fide", "paper_cut_out"} <= {kind.value for kind in AttackKind}


@pytest.mark.slow
def test_the_command_prints_rates_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """Pins one line a kind."""
    assert EXIT_OK == main(["attacks", "--people", "2", "--mirror", "without"])
    printed = capsys.readouterr().out
    assert all(words_in("en")(KINDS[kind]) in printed for kind in AttackKind)


def test_the_distance_of_two_samples() -> None:
    """Pins the Kolmogorov-Smirnov distance at both ends and in between, and the level of chance."""
    one = np.arange(10.0)
    assert 0.0 == largest_gap(one, one)
    assert 1.0 == largest_gap(one, one + 100.0)
    assert pytest.approx(0.3) == largest_gap(one, one + 3.0)
    assert pytest.approx(0.272) == chance_level(50, 50)
