"""What a look at a terminal found, in words and as values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sync.facts import DeviceChecked
from terminal.display.language import _, both, said_in
from terminal.display.view import Words


class Verdict(StrEnum):
    """How bad it is."""

    WELL = "well"
    WATCH = "watch"
    """Lunch goes on; somebody should look at it this week."""
    RISK = "risk"
    """Lunch, or a way of eating it, is at risk now."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        sentence: in French; {name} stands for a value of `measured`.
    """

    name: str
    verdict: Verdict
    sentence: str
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> Words:
        """The sentence with its values, in both languages."""
        return both(self.sentence).filled(**{name: str(value) for name, value in self.measured.items()})

    def as_json(self) -> dict[str, Any]:
        words = self.words
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "said": {"fr": words.fr, "en": words.en},
            "measured": self.measured,
        }


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks at one instant."""

    device: str
    at: datetime
    checks: tuple[Check, ...]

    @property
    def at_risk(self) -> tuple[str, ...]:
        """The names of what puts lunch at risk."""
        return tuple(check.name for check in self.checks if check.verdict is Verdict.RISK)

    def as_fact(self) -> DeviceChecked:
        """What the server is told: names of checks and firmware, nothing else."""
        watch = tuple(check.name for check in self.checks if check.verdict is Verdict.WATCH)
        parts = [part for check in self.checks if check.name == "board" for part in check.measured.get("parts", ())]
        boards = [
            f"{one['address']} {one['vendor']}/{one['model']} {one['firmware']}" for one in parts if one["vendor"]
        ]
        return DeviceChecked(self.at_risk, watch, tuple(boards))

    def as_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "at": self.at.isoformat(),
            "at_risk": list(self.at_risk),
            "checks": [check.as_json() for check in self.checks],
        }


def told(checks: Iterable[dict[str, Any]], language: str) -> str:
    """The checks as lines for a person, those that need one first."""
    marks = {Verdict.RISK.value: "✗", Verdict.WATCH.value: "!", Verdict.WELL.value: "✓"}
    order = list(marks)
    lines = sorted(checks, key=lambda check: order.index(check["verdict"]))
    return "".join(f"{marks[check['verdict']]} {check['said'][language]}\n" for check in lines)


def summed_up(report: dict[str, Any], language: str) -> str:
    """The last line of what the doctor says."""
    if report["at_risk"]:
        return said_in(language, _("Le service est en danger.")) + "\n"
    return said_in(language, _("Le service peut avoir lieu.")) + "\n"
