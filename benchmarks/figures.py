"""A figure with its goal, a table of them for people, and one line of JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.language import _


class Better(StrEnum):
    """Which way a figure should go."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, slots=True)
class Figure:
    """One result.

    Attributes:
        name: its stable name in the JSON line.
        label: what people read.
        unit: "ratio" where it is divided by a floor of the same run.
        detail: what it was made of, for the table.
    """

    name: str
    label: str
    value: float
    unit: str
    goal: float
    better: Better = Better.LOWER
    detail: str = ""

    @property
    def reaches_goal(self) -> bool:
        return self.value <= self.goal if self.better is Better.LOWER else self.value >= self.goal

    def as_json(self) -> dict[str, Any]:
        return {
            "figure": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "goal": self.goal,
            "better": self.better.value,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one benchmark, and what one must know to read them."""

    title: str
    figures: tuple[Figure, ...]
    remarks: tuple[str, ...]


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample with at least `share` of all at or below it (nearest rank): never a value nobody saw."""
    if not samples or not 0.0 < share <= 1.0:
        raise ValueError("a percentile needs samples and a share in (0, 1]")
    ordered = sorted(samples)
    return ordered[math.ceil(share * len(ordered)) - 1]


def median(samples: Sequence[float]) -> float:
    """The 50th percentile, by nearest rank."""
    return percentile(samples, 0.5)


def print_report(report: Report, console: Console) -> None:
    """The table, the remarks, and as the last line the JSON list."""
    table = Table(title=report.title, title_justify="left")
    table.add_column(_("Mesure"))
    table.add_column(_("Valeur"), justify="right")
    table.add_column(_("But"), justify="right")
    table.add_column("", justify="center")
    table.add_column(_("Détail"), overflow="fold")
    for figure in report.figures:
        sign = "≤" if figure.better is Better.LOWER else "≥"
        unit = "×" if figure.unit == "ratio" else figure.unit
        table.add_row(
            figure.label,
            f"{figure.value:.2f} {unit}",
            f"{sign} {figure.goal:g} {unit}",
            "[green]✓[/]" if figure.reaches_goal else "[red]✗[/]",
            figure.detail,
        )
    console.print(table)
    for remark in report.remarks:
        console.print(f"· {remark}", markup=False, highlight=False)
    console.file.write(json.dumps([figure.as_json() for figure in report.figures], ensure_ascii=False) + "\n")
