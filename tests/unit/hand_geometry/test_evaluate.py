"""The command line: trials in, scores out, and the numbers fitted anew."""

from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hand_geometry.errors import TrialsError
from hand_geometry.evaluate import EXIT_INPUT, EXIT_OK, main
from hand_geometry.evaluation_answers import told, write_whole
from hand_geometry.fitted_numbers import load_numbers, read_provenance
from hand_geometry.image_decoding import decode_image, read_image
from hand_geometry.image_set import read_index
from hand_geometry.masked_numbers import SUPPORTED_MASKS, numbers_under
from hand_geometry.overlay import OUTLINE_BGR
from hand_geometry.performance import Estimate
from hand_geometry.posture import Posture
from hand_geometry.set_perturbations import PERTURBATIONS
from hand_geometry.silhouette import Platen
from hand_geometry.synthetic_hand import encode_jpeg, synthetic_hand


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen people with three pictures each, and an index."""
    place = tmp_path_factory.mktemp("set")
    rows = ["file,subject,sample"]
    for identity in range(13):
        for sample in range(3):
            name = f"{identity}_{sample}.jpg"
            (place / name).write_bytes(encode_jpeg(synthetic_hand(identity, sample)))
            rows.append(f"{name},{identity},{sample}")
    (place / "index.csv").write_text("\n".join(rows) + "\n")
    (place / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    return place


def compared(folder: Path, rows: list[str]) -> list[dict[str, str]]:
    """Runs ``compare`` over the given rows of trials and reads the scores."""
    trials, out = folder / "trials.csv", folder / "scores.csv"
    trials.write_text("trial,genuine,enrolment,probe\n" + "\n".join(rows) + "\n")
    assert EXIT_OK == main(["compare", "--trials", str(trials), "--out", str(out), "--platen", "dark"])
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_compare_gives_every_trial_an_outcome(folder: Path) -> None:
    """Pins columns, outcomes and reasons, that a lower score is closer, and that unreadable pictures do not stop it."""
    got = compared(
        folder,
        [
            "a,1,0_0.jpg|0_1.jpg,0_2.jpg",
            "b,0,0_0.jpg|0_1.jpg,1_2.jpg",
            "c,1,0_0.jpg|0_1.jpg,broken.jpg",
            "d,1,missing.jpg,0_2.jpg",
            "e,0,0_0.jpg|1_0.jpg,0_2.jpg",
            "f,1,0_0.jpg|1_0.jpg|0_1.jpg,0_2.jpg",
            "g,1,broken.jpg|0_0.jpg|0_1.jpg,0_2.jpg",
        ],
    )
    assert ["trial", "outcome", "score", "reason"] == list(got[0])
    assert ["a", "b", "c", "d", "e", "f", "g"] == [row["trial"] for row in got]
    outcomes = ["compared", "compared", "failure_to_acquire", "failure_to_enroll", "failure_to_enroll"]
    outcomes += ["compared", "compared"]
    assert outcomes == [row["outcome"] for row in got]
    assert ["", "", "unreadable_image", "unreadable_image", "samples_disagree", "", ""] == [
        row["reason"] for row in got
    ]
    assert float(got[0]["score"]) < -3.0 < float(got[1]["score"])
    assert ["", "", ""] == [row["score"] for row in got[2:5]]
    assert all(float(row["score"]) < -3.0 for row in got[5:])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("trial,probe\n1,x.jpg\n", "enrolment is missing"),
        ("trial,enrolment,probe\n1,a.jpg,b.jpg\n2,,b.jpg\n", "line 3"),
        ("trial,enrolment,probe\n1,a.jpg|,b.jpg\n", "line 2"),
        ("trial,enrolment,probe\n1,a.jpg\n", "line 2"),
        ("", "enrolment is missing"),
    ],
)
def test_a_bad_row_is_an_error_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    """Pins exit code and sentence for a file of trials that makes no sense."""
    trials = tmp_path / "trials.csv"
    trials.write_text(content)
    assert EXIT_INPUT == main(["compare", "--trials", str(trials), "--out", str(tmp_path / "out.csv")])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pins that a wrong path is a sentence and not a traceback."""
    assert EXIT_INPUT == main(["compare", "--trials", str(tmp_path / "no.csv"), "--out", str(tmp_path / "out.csv")])
    assert "cannot be read" in capsys.readouterr().err
    assert EXIT_INPUT == main(["crossvalidate", str(tmp_path)])
    assert EXIT_INPUT == main(["fit", "--set", "moon=x", "--out", str(tmp_path / "n.npz")])


def test_no_trials_give_a_header(folder: Path) -> None:
    """Pins that an empty list of trials is no error."""
    assert [] == compared(folder, [])


def test_numbers_are_fitted_and_measured(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pins that the shipped numbers can be made again, with their provenance, and measured on people kept apart."""
    out = tmp_path / "numbers.npz"
    assert EXIT_OK == main(["fit", "--set", f"dark={folder}", "--out", str(out), "--no-masks"])
    assert {Posture.GUIDED} == set(load_numbers(out))
    assert 13 == read_provenance(out)["sets"][0]["subjects"]
    # Half of a half is too few people to calibrate on, which is said.
    assert EXIT_INPUT == main(["crossvalidate", str(folder), "--seeds", "1"])
    assert "too few" in capsys.readouterr().err


def test_changed_pictures_are_laid_and_unchanged_ones_enroll(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins the rows: nothing changed, turned about, and everything black, of which each is a reject."""
    changes = {name: PERTURBATIONS[name] for name in ("inchangée", "tournée de 15°")}
    monkeypatch.setattr(
        "hand_geometry.set_perturbations.PERTURBATIONS", {**changes, "black": lambda image, _: 0 * image}
    )
    assert EXIT_OK == main(["perturb", str(folder), "--enrolled", "2", "--seeds", "1"])
    unchanged, turned, black = capsys.readouterr().out.splitlines()[1:]
    assert unchanged.startswith("unchanged                  0 of 39      0.00% [0.00, 0.00]")
    assert turned.startswith("turned by 15°              0 of 39      ")
    assert "39 of 39     100.00%" in black


def test_masks_are_measured_with_the_fingers_painted_over(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins the row of a mask: what was not measured, and the rates with their intervals."""
    numbers = numbers_under(Posture.GUIDED, Platen.DARK, SUPPORTED_MASKS[2])
    people = np.unique([image.subject for image in read_index(folder)])
    # Too few people to fit on half of them.
    monkeypatch.setattr("hand_geometry.painted_fingers.held_out_folds", lambda *_, **__: [(numbers, people)])
    monkeypatch.setattr("hand_geometry.painted_fingers.SUPPORTED_MASKS", SUPPORTED_MASKS[2:3])
    assert EXIT_OK == main(["masks", str(folder), "--painted", "--enrolled", "2"])
    row = capsys.readouterr().out.splitlines()[1]
    assert row.startswith("middle                 0, 0 of 39       0.00% [")


def test_show_draws_over_the_picture(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pins that a human can see what was measured, and why not."""
    out = tmp_path / "drawn.png"
    assert EXIT_OK == main(["show", str(folder / "0_0.jpg"), "--out", str(out)])
    drawn = decode_image(out.read_bytes())
    assert drawn is not None
    assert (drawn == OUTLINE_BGR).all(axis=2).any()
    assert EXIT_OK == main(["show", str(folder / "0_0.jpg"), "--out", str(out), "--platen", "backlit"])
    assert "not measured: " in capsys.readouterr().out
    assert EXIT_INPUT == main(["show", str(folder / "broken.jpg"), "--out", str(out)])


@pytest.mark.parametrize("count", ["0", "-3", "many", "1e9", "9999999"])
def test_a_count_is_a_whole_number_from_one(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And otherwise a sentence, not a division by nothing."""
    for command in (["growth", "--children", count], ["policy", "--pupils", count], ["attacks", "--people", count]):
        with pytest.raises(SystemExit) as refused:
            main(command)
        assert 2 == refused.value.code
        assert "a whole number from 1 to 999999" in capsys.readouterr().err


def test_what_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder where a file is to be, or none where its folder is to be."""
    picture = tmp_path / "hand.jpg"
    picture.write_bytes(encode_jpeg(synthetic_hand(1, 0)))
    for out in (tmp_path, tmp_path / "nowhere" / "drawn.png"):
        assert EXIT_INPUT == main(["show", str(picture), "--out", str(out)])
        assert f"canteen-evaluate: {out}: " in capsys.readouterr().err


def test_an_index_from_a_spreadsheet_is_read_and_one_without_columns_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte order mark is no part of a column's name."""
    index = tmp_path / "index.csv"
    index.write_text("file,subject\nhand.jpg,1\n", encoding="utf-8-sig")
    assert ["1"] == [one.subject for one in read_index(tmp_path)]
    index.write_text("image,person\nhand.jpg,1\n", encoding="utf-8")
    assert EXIT_INPUT == main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")])
    assert f"canteen-evaluate: {index}: the column file is missing\n" == capsys.readouterr().err


def test_nobody_with_enough_pictures_is_an_error_not_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pins that no figure is printed where nothing could be compared."""
    assert EXIT_INPUT == main(["crossvalidate", str(folder), "--enrolled", "9", "--seeds", "1"])
    said = capsys.readouterr()
    assert "too few people with more than 9 pictures" in said.err
    assert "nan" not in said.out


def test_one_person_is_no_set_to_hold_synthetic_people_against(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pins that no distance from a single person's hand is printed as if it said something of people."""
    rows = (folder / "index.csv").read_text().splitlines()[:4]
    for row in rows[1:]:
        name = row.split(",")[0]
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    assert EXIT_INPUT == main(["synthetic", f"dark={tmp_path}", "--people", "2"])
    said = capsys.readouterr()
    assert "nobody to measure" in said.err
    assert "chance" not in said.out


@pytest.mark.parametrize(
    ("language", "said"), [("en", "0.00% [0.00, 8.11] (none seen"), ("fr", "[0,00 ; 8,11] (aucune")]
)
def test_where_no_error_was_seen_the_rule_of_three_bounds_it(
    monkeypatch: pytest.MonkeyPatch, language: str, said: str
) -> None:
    """Pins that nobody copies an interval from 0 to 0, and that what was seen keeps its own."""
    monkeypatch.setenv("LANGUAGE", language)
    assert said in told(Estimate(0.0, 0.0, 0.0), 37)
    assert "(" not in told(Estimate(0.005, 0.0, 0.012), 37)


def test_a_french_session_is_answered_in_french(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins the words of help, answers and errors, and French numbers; CSV files keep their columns and codes."""
    monkeypatch.setenv("LANGUAGE", "fr")
    compared(folder, ["a,1,0_0.jpg|0_1.jpg,0_2.jpg"])
    assert "1 comparés, 0 échecs d’enrôlement, 0 échecs d’acquisition\n" == capsys.readouterr().out
    assert EXIT_OK == main(["policy"])
    assert "0,1 % (un inconnu sur 1000)" in capsys.readouterr().out
    picture, out = str(folder / "0_0.jpg"), str(tmp_path / "drawn.png")
    assert EXIT_OK == main(["show", picture, "--platen", "backlit", "--out", out])
    assert capsys.readouterr().out.startswith("pas mesurée : ")
    assert EXIT_INPUT == main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")])
    assert f"canteen-evaluate: {tmp_path}/index.csv : illisible (le dossier ou le fichier" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["show", picture, "--platen", "moon", "--out", out])
    assert "argument --platen : il faut l’un de dark, light, backlit, silhouette" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_said_before_the_work(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that nobody waits minutes for that; a disk that fills leaves what was there, and no half of a report."""
    monkeypatch.setattr("hand_geometry.fit.acquire_set", None)  # measured, it would raise
    for out in (tmp_path, tmp_path / "nowhere" / "report.html", folder / "0_0.jpg" / "report.html"):
        assert EXIT_INPUT == main(["report", str(folder), "--out", str(out)])
        assert str(out) in capsys.readouterr().err
    report = tmp_path / "report.html"
    report.write_bytes(b"the last one")
    monkeypatch.setattr(Path, "write_bytes", _on_a_full_disk)
    with pytest.raises(TrialsError, match="the disk is full"):
        write_whole(report, b"a new one")
    assert b"the last one" == report.read_bytes()
    assert [report] == list(tmp_path.iterdir())


def _on_a_full_disk(path: Path, data: bytes) -> int:
    with path.open("wb") as file:
        file.write(data[:3])
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_a_picture_named_twice_is_refused(tmp_path: Path) -> None:
    """Pins that no picture is compared with itself: it would match better than any hand."""
    (tmp_path / "index.csv").write_text("file,subject\nhand.jpg,1\nhand.jpg,2\n")
    with pytest.raises(TrialsError, match=r"line 3: hand\.jpg is named already"):
        read_index(tmp_path)


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    """Pins that nothing is waited for."""
    os.mkfifo(tmp_path / "hand.jpg")
    assert read_image(tmp_path / "hand.jpg") is None


def test_ctrl_c_ends_a_long_run_without_a_word(folder: Path, tmp_path: Path) -> None:
    """Pins the exit code, that the processes that measure say nothing either, and that no half of an answer is left."""
    rows = (folder / "index.csv").read_text().splitlines()
    many = [f"{folder / row.split(',')[0]},{at}" for at, row in enumerate(rows[1:])]
    many += [f"{folder}/../{folder.name}/{row}" for row in rows[1:]]
    (tmp_path / "index.csv").write_text("\n".join(["file,subject", *many]) + "\n")
    out = tmp_path / "report.html"
    # A shell's background job is deaf to Ctrl-C, and so would be what it starts.
    hearing = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program = hearing + "from hand_geometry.evaluate import main; print('begun', flush=True); sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", program, "report", str(tmp_path), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        assert b"begun\n" == running.stdout.readline()
        time.sleep(0.7)  # its helpers start
        os.killpg(running.pid, signal.SIGINT)
        _out, said = running.communicate(timeout=20)
    assert (130, b"") == (running.returncode, said)
    assert not out.exists()
