"""The report of a folder, and the trials behind it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hand_geometry.acquisition import FailureToAcquire, Features
from hand_geometry.evaluate import EXIT_INPUT, EXIT_OK, main
from hand_geometry.fit import AcquiredSet
from hand_geometry.fitted_numbers import numbers_for
from hand_geometry.image_set import LabelledImage
from hand_geometry.performance import detection_error_tradeoff, false_non_match_rate, rule_of_three
from hand_geometry.posture import Posture
from hand_geometry.quality import QualityReason
from hand_geometry.report import report_page
from hand_geometry.set_evaluation import SetEvaluation, evaluate_set
from hand_geometry.set_trials import transactions_among, trials_among
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import encode_jpeg, synthetic_hand


@pytest.fixture(scope="module")
def measured(people: list[list[Features]]) -> AcquiredSet:
    """Thirty people with four pictures each; one picture failed, one shows a stranger."""
    images, acquired = [], []
    for identity, samples in enumerate(people):
        for sample, features in enumerate(samples):
            images.append(LabelledImage(Path("secret_folder") / f"{identity}_{sample}.jpg", str(identity)))
            acquired.append(features)
    failed: list[Features | FailureToAcquire] = [*acquired]
    failed[3] = FailureToAcquire(QualityReason.FINGERS_CLOSED)
    failed[7] = acquired[80]
    return AcquiredSet("<school>", Platen.DARK, images, failed)


@pytest.fixture(scope="module")
def found(measured: AcquiredSet) -> SetEvaluation:
    """Evaluated once."""
    return evaluate_set(measured, seeds=1)


def test_every_picture_is_a_probe_once(measured: AcquiredSet) -> None:
    """Pins the count of trials, that a failure is a reject, and that nobody is an impostor to himself."""
    everyone = np.array([str(one) for one in range(30)])
    numbers = numbers_for(Posture.GUIDED, Platen.DARK)
    trials = trials_among(measured.images, measured.acquired, numbers, everyone, 3)
    assert 120 == len(trials.genuine) == len(trials.genuine_files)
    assert 120 * 116 == len(trials.impostor) == len(trials.impostor_files)
    assert ["0_3.jpg"] == list(trials.genuine_files[np.isinf(trials.genuine)])
    assert not (trials.impostor_subjects[:, 0] == trials.impostor_subjects[:, 1]).any()


def test_a_transaction_counts_its_best_try(measured: AcquiredSet) -> None:
    """Pins that one failed picture in three does not reject, and one transaction a pair of people."""
    everyone = np.array([str(one) for one in range(30)])
    numbers = numbers_for(Posture.GUIDED, Platen.DARK)
    trials = transactions_among(measured.images, measured.acquired, numbers, everyone)
    assert 30 == len(trials.genuine)
    assert 30 * 29 == len(trials.impostor)
    assert np.isfinite(trials.genuine).all()


def test_what_went_wrong_is_named_by_file_alone(found: SetEvaluation) -> None:
    """Pins the two planted faults: they are found, without the folder's name."""
    assert {"0_3.jpg", "1_3.jpg"} <= {pair.probe_file for pair in found.rejected}
    assert found.held_out
    assert {"fingers_closed": 1} == dict(found.failures)
    assert 30 == found.enrolments


class _Outside(HTMLParser):
    """Collects what a browser would fetch, and counts tags."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.mark.parametrize(
    ("language", "said"), [("fr", "Ce que ce rapport ne dit pas"), ("en", "Synthetic hands measure no accuracy")]
)
def test_the_page_stands_alone(found: SetEvaluation, language: str, said: str) -> None:
    """Pins both languages, two drawings, nothing fetched, no script, no folder's name, and names escaped."""
    page = report_page(found, language=language, written=datetime(2026, 11, 22, tzinfo=UTC))
    parser = _Outside()
    parser.feed(page)
    assert [] == parser.fetched
    assert "script" not in parser.tags
    assert 2 == parser.tags.count("svg")
    assert said in page
    assert "secret_folder" not in page
    assert "&lt;school&gt;" in page
    assert not re.search(r"https?://|url\(|nan", page)


def test_numbers_are_written_as_the_language_does(found: SetEvaluation) -> None:
    """Pins commas on axes, in tables and in lists of the French page; file names and drawings keep their points."""
    pages = {one: report_page(found, language=one, written=datetime(2026, 10, 1, tzinfo=UTC)) for one in ("fr", "en")}
    pages = {one: page[page.index("<body>") :] for one, page in pages.items()}
    texts = {one: re.findall(r">([^<>]*\d[.,]\d[^<>]*)<", page) for one, page in pages.items()}
    assert [] == [text for text in texts["fr"] if re.search(r"\d\.\d", re.sub(r"\S+\.jpg", "", text))]
    assert "01/10/2026" in pages["fr"]
    assert any("0,01\u202f%" in text for text in texts["fr"])
    assert any("0.01%" in text for text in texts["en"])


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pins that a folder too small to fit on is measured with the shipped numbers, which the page says."""
    rows = ["file,subject,sample"]
    for identity in range(2):
        for sample in range(4):
            name = f"{identity}_{sample}.jpg"
            (tmp_path / name).write_bytes(encode_jpeg(synthetic_hand(identity, sample)))
            rows.append(f"{name},{identity},{sample}")
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "report.html"
    assert EXIT_OK == main(["report", str(tmp_path), "--out", str(out), "--language", "en"])
    assert "2 subjects, 8 pictures" in capsys.readouterr().out
    assert "too good" in out.read_text()
    (tmp_path / "index.csv").write_text("\n".join(rows[:5]) + "\n")
    assert EXIT_INPUT == main(["report", str(tmp_path), "--out", str(out), "--platen", "dark"])


def test_the_curve_is_the_rate_at_each_point(measured: AcquiredSet) -> None:
    """Pins the DET curve to the single rates, and the rule of three."""
    numbers = numbers_for(Posture.GUIDED, Platen.DARK)
    trials = trials_among(measured.images, measured.acquired, numbers, np.array([str(one) for one in range(9)]), 3)
    rates = np.array([0.0005, 0.01, 0.2])
    curve = detection_error_tradeoff([trials], rates)
    single = [false_non_match_rate(trials.genuine, trials.impostor, float(rate)) for rate in rates]
    assert pytest.approx(single) == list(curve)
    assert 0.06 == rule_of_three(50)
