"""How strict a school is, as what it means: how often a stranger passes, and how many pupils are rejected a week.

The numbers come from ``measured_curves.json``, which ``canteen-evaluate policy --measure`` writes from sets of real
hands: rejects of people kept apart from the fit, at the thresholds a terminal uses. It holds rates and counts only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from hand_geometry.comparison import Threshold
from hand_geometry.errors import FittedNumbersError
from hand_geometry.language import _, words_in
from hand_geometry.posture import Posture

CURVES_FILE = Path(__file__).parent / "measured_curves.json"
CURVES_FORMAT = 1
# A French school serves on Monday, Tuesday, Thursday and Friday.
MEALS_A_WEEK = 4
PUPILS = 600


class ThresholdPolicy(Enum):
    """The choices a school has; the value is the false match rate."""

    EASY = 0.01
    USUAL = 0.001
    STRICT = 0.0001

    @property
    def false_match_rate(self) -> float:
        """The share of strangers' hands that pass."""
        return float(self.value)

    @property
    def threshold(self) -> Threshold:
        """What ``decide`` takes."""
        return Threshold.at_false_match_rate(self.false_match_rate)


@dataclass(frozen=True)
class ExpectedRejects:
    """First tries of the right hand that are rejected in a week.

    Attributes:
        policy: The choice.
        pupils: How many eat with their hand.
        meals: Passes in the week.
        a_week: As measured on one day.
        a_week_low: Lower and
        a_week_high: upper end of the 95 % interval, which few people make wide.
        a_week_later: Enrolled on one picture, passing on another day: no set has three of one day and later ones.
        strangers_in: One stranger's hand in so many passes, as measured; None where none passed.
    """

    policy: ThresholdPolicy
    pupils: int
    meals: int
    a_week: float
    a_week_low: float
    a_week_high: float
    a_week_later: float | None
    strangers_in: float | None

    def sentence(self, language: str = "fr") -> str:
        """What a head of school reads."""
        words = words_in(language)
        rate = f"{100 * self.policy.false_match_rate:g}"
        if language == "fr":
            rate = rate.replace(".", ",")
        text = words(
            "Fausse acceptation visée : {rate} % (un inconnu sur {one_in}). Pour {pupils} élèves et {meals} repas : "
            "{low} à {high} essais rejetés à tort par semaine, avec trois placements à l'enrôlement."
        ).format(
            rate=rate,
            one_in=f"{1 / self.policy.false_match_rate:.0f}",
            pupils=self.pupils,
            meals=self.meals,
            low=f"{self.a_week_low:.0f}",
            high=f"{self.a_week_high:.0f}",
        )
        if self.a_week_later is not None:
            text += " " + words("Enrôlé d’une seule image et passant un autre jour : environ {later}.").format(
                later=f"{self.a_week_later:.0f}"
            )
        return text


def expected_rejects(
    policy: ThresholdPolicy,
    *,
    posture: Posture = Posture.GUIDED,
    pupils: int = PUPILS,
    meals_a_pupil: int = MEALS_A_WEEK,
) -> ExpectedRejects:
    """What this choice costs in a week, from the measured curves.

    Raises:
        FittedNumbersError: No curve was measured for this posture.
    """
    curve = read_curves(CURVES_FILE).get(posture.value)
    if curve is None:
        raise FittedNumbersError(_("aucune courbe mesurée pour la pose {posture}").format(posture=posture))
    row = curve["rates"][f"{policy.false_match_rate:g}"]
    meals = pupils * meals_a_pupil
    later = row["rejects_on_another_day"]
    passed = row["strangers_accepted"]
    return ExpectedRejects(
        policy,
        pupils,
        meals,
        meals * float(row["rejects"]),
        meals * float(row["rejects_low"]),
        meals * float(row["rejects_high"]),
        None if later is None else meals * float(later),
        1.0 / float(passed) if passed else None,
    )


@cache
def read_curves(path: Path = CURVES_FILE) -> Mapping[str, Any]:
    """The measured curves by posture, with the provenance of each."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read["format"] != CURVES_FORMAT:
            raise FittedNumbersError(_("{name} : un format que ce programme ne connaît pas").format(name=path.name))
        return dict(read["curves"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FittedNumbersError(_("{name} : les courbes mesurées sont illisibles").format(name=path.name)) from error
