"""One lunch, end to end, in the words of those who are there; and what must never be found afterwards."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from demo.canteen import Canteen
from demo.people import Way
from demo.story import Story
from hand_geometry.synthetic_hand import synthetic_hand
from tests.running_canteen import running_canteen

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lunch() -> Iterator[tuple[Canteen, Story]]:
    """A canteen in which the five scenes have been played; its processes still run."""
    with running_canteen() as canteen:
        story = Story(canteen, print)
        story.play()
        yield canteen, story


def test_all_five_scenes_go_as_they_should(lunch: tuple[Canteen, Story]) -> None:
    """Hands and cards pass, others are refused with the right reason, the ledger has each once."""
    _, story = lunch
    report = story.report
    assert report.failed is None
    assert len(report.granted) == report.recorded
    assert len(report.denied) == report.recorded_denials
    assert report.purged == {"pupils": 1, "receipts": 2, "holders": ["station-1", "terminal-1"]}
    assert report.recovered == 4


def test_a_purged_pupil_is_nowhere_in_the_stores(lunch: tuple[Canteen, Story]) -> None:
    """After the departure neither terminal nor station knows the pupil, by any of their doors."""
    canteen, _ = lunch
    leaver = next(person for person in canteen.people if person.way is Way.HAND)
    assert canteen.pupils[leaver.key] not in {row["pupil"] for row in canteen.station.pupils()}


def secrets_of(canteen: Canteen) -> dict[str, bytes]:
    """What must not lie in the clear anywhere: names at the gate, codes, cards, keys, and pixels."""
    secrets = {f"code of {key}": canteen.codes[pupil].encode() for key, pupil in canteen.pupils.items()}
    secrets |= {f"card of {person.key}": person.card.hexadecimal.encode() for person in canteen.people}
    secrets |= {f"card bytes of {person.key}": bytes.fromhex(person.card.hexadecimal) for person in canteen.people}
    return secrets


def files_of(canteen: Canteen) -> dict[Path, bytes]:
    """Every plain file that the canteen's processes have written, with its content."""
    return {
        path: path.read_bytes() for path in canteen.layout.folder.rglob("*") if path.is_file() and not path.is_symlink()
    }


def test_no_code_and_no_card_number_is_on_disk_or_in_a_log(lunch: tuple[Canteen, Story]) -> None:
    """Databases, write-ahead logs, the broker's persistence, logs, configurations: all of them are searched.

    A four-digit code is looked for with what would stand around it in JSON, SQL or a log line; alone, four digits
    occur by chance in any file.
    """
    canteen, _ = lunch
    files = files_of(canteen)
    assert len(files) > 20
    found = []
    for what, secret in secrets_of(canteen).items():
        patterns = [secret]
        if len(secret) <= 5:
            patterns = [b'"' + secret + b'"', b"'" + secret + b"'", b"=" + secret, b" " + secret + b" ", b":" + secret]
        found += [(what, path.name) for path, content in files.items() for p in patterns if p in content]
    assert [] == found


def test_names_are_not_on_the_terminals_disk_nor_in_any_log(lunch: tuple[Canteen, Story]) -> None:
    """The terminal's store is encrypted, its journal pseudonymous, and no log names a child."""
    canteen, _ = lunch
    names = [name.encode() for person in canteen.people for name in (person.first_name, person.last_name)]
    places = [canteen.layout.folder / "terminal", canteen.layout.logs, canteen.layout.broker]
    found = [
        (name.decode(), path.name)
        for path, content in files_of(canteen).items()
        if any(place in path.parents for place in places)
        for name in names
        if len(name) > 4 and name in content
    ]
    assert [] == found


def test_no_image_of_a_hand_is_on_disk(lunch: tuple[Canteen, Story]) -> None:
    """No JPEG, no PNG, and no row of pixels of a hand that was laid."""
    canteen, _ = lunch
    person = next(person for person in canteen.people if person.way is Way.HAND)
    identity, sample = person.hands[0].synthetic or (0, 0)
    image = synthetic_hand(identity, sample)
    row = np.ascontiguousarray(image[600, 500:700]).tobytes()
    jpeg = person.hands[0].encoded()
    for path, content in files_of(canteen).items():
        assert b"\xff\xd8\xff\xe0" not in content, path
        assert b"\x89PNG\r\n" not in content, path
        assert row not in content, path
        assert jpeg[2000:2064] not in content, path


def test_keys_are_in_their_own_files_of_mode_0600_and_nowhere_else(lunch: tuple[Canteen, Story]) -> None:
    """Every key file is private; no other file holds its bytes, raw, in hexadecimal or in base64."""
    canteen, _ = lunch
    files = files_of(canteen)
    keys = {path: content for path, content in files.items() if path.suffix in {".key", ".token"}}
    assert {"signing.key", "sealing.key", "store.key", "channel.key", "code.key"} <= {path.name for path in keys}
    assert {0o600} == {path.stat().st_mode & 0o777 for path in keys}
    for path, content in keys.items():
        secret = content if len(content) <= 64 else content.split(b"\n")[1]
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)):
            assert [] == [other for other, there in files.items() if form in there and other != path]


def test_the_whole_folder_is_private(lunch: tuple[Canteen, Story]) -> None:
    """Another user of the machine sees nothing."""
    canteen, _ = lunch
    assert canteen.layout.folder.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_the_script_ends_with_one_line_of_json() -> None:
    """`canteen-demo --once`, as a person or a scheduler runs it."""
    answer = subprocess.run(
        [sys.executable, "-m", "demo.main", "--once"],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
        timeout=110,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    report = json.loads(answer.stdout.splitlines()[-1])
    assert report["ok"]
    assert report["granted"] == report["recorded"]
