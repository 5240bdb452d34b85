"""Garbage in an upload or a form is a clear refusal, and no picture ever touches a disk or a log."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from enrollment_station.uploads import PLACEMENT_BYTES_MAX
from tests.unit.enrollment_station.bench import ADA, CODES, Bench, placement, placements

_REFUSALS = {400, 403, 404, 405, 409, 413, 422}
_PATHS = [f"/api/eleves/{ADA}/{what}" for what in ("main", "main/essai", "consentement", "carte", "code")]

_written_files: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    # Every open() and os.open() of this process passes here, a temporary file's too; a hook cannot be taken out again.
    if _watching and event == "open":
        path, mode, flags = arguments
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & 3):
            _written_files.append(str(path))


sys.addaudithook(_watch)


@pytest.fixture
def written_files() -> Iterator[list[str]]:
    """The files opened for writing while the test runs."""
    global _watching  # noqa: PLW0603 - the hook lives as long as the process
    _written_files.clear()
    _watching = True
    yield _written_files
    _watching = False


@pytest.fixture(scope="module")
def consenting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A station with a pupil who consents; garbage changes nothing in it."""
    bench = Bench(tmp_path_factory.mktemp("station"))
    bench.fill()
    bench.consent(ADA)
    yield bench
    bench.close()


def test_the_watch_sees_spooled_files(written_files: list[str]) -> None:
    """The watch would notice what the framework's own parser does with a large upload."""
    with tempfile.SpooledTemporaryFile(max_size=10) as file:
        file.write(b"more than ten bytes")
    assert written_files


def test_no_picture_touches_the_disk_or_the_log(
    consenting: Bench, written_files: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Pictures past every spooling limit: no file is opened for writing, and no file holds a piece of one."""
    caplog.set_level(logging.DEBUG)
    # A JPEG may be followed by anything: this makes it as large as a camera's.
    images = [image + bytes([n]) * (3 << 20) for n, image in enumerate(placements(1))]
    assert consenting.try_placement(ADA, images[0]).json()["acquired"]
    answer = consenting.enroll(ADA, images)
    assert 200 == answer.status_code, answer.text
    assert [] == written_files
    pieces = [image[offset : offset + 24] for image in placements(1) for offset in (0x300, len(image) // 2)]
    for path in consenting.folder.rglob("*"):
        content = path.read_bytes()
        assert not [piece for piece in pieces if piece in content], path
    assert "Desrosiers" not in caplog.text
    assert CODES[ADA].digits not in caplog.text


def test_nothing_in_clear_on_disk_after_a_day_of_work(bench: Bench, tmp_path: Path) -> None:
    """Names, codes, card numbers and references: in none of the station's files; keys only in their own."""
    from templates_store.store import StoredReference

    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    bench.post(f"/api/eleves/{ADA}/carte", {"card": "04A1B2C3D4E5F6"})
    bench.client.get("/", headers=bench.bearer)
    bench.post(f"/api/eleves/{ADA}/code", {})
    stored = bench.station.store.reference(ADA, bench.clock.utc_now())
    assert isinstance(stored, StoredReference)
    private = [
        *(b"Desrosiers", b"Philippine", b"04A1B2C3D4E5F6", bytes.fromhex("04A1B2C3D4E5F6")),
        *(CODES[ADA].digits.encode(), stored.reference, stored.reference[:16], bench.token.encode()),
    ]
    keys = {path.name: path.read_bytes() for path in tmp_path.glob("*.key")}
    assert {"store.key", "signing.key", "sealing.key"} == set(keys)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        for needle in private:
            assert needle not in content, path.name
        for name, key in keys.items():
            assert (name == path.name) == (key in content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(_PATHS),
    content_type=st.sampled_from(
        [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=b",
            'multipart/form-data; boundary="b',
            "multipart/form-data; boundary=" + "b" * 300,
            "application/x-www-form-urlencoded",
            "",
        ]
    ),
    body=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=60).map(
            lambda body: b'--b\r\nContent-Disposition: form-data; name="placement"\r\n\r\n' + body
        ),
        st.binary(max_size=60).map(
            lambda body: (
                b'--b\r\nContent-Disposition: form-data; name="placement"; filename="x"\r\n\r\n'
                + body
                + b"\r\n--b--\r\n"
            )
        ),
        st.sampled_from(
            [b"{}", b"[]", b"null", b"[" * 5000, b'{"state": {"a": 1}}', b'{"state": "given"}', b'{"card": 1e999}']
        ),
    ),
)
@example(path=_PATHS[0], content_type="multipart/form-data; boundary=b", body=b"--b" * 50_000)
@example(path=_PATHS[2], content_type="application/json", body=b'{"state": "given", "notice_version": "\\ud800"}')
def test_garbage_is_refused_and_the_next_pupil_enrols(
    consenting: Bench, path: str, content_type: str, body: bytes
) -> None:
    """A refusal or, for a form that is one, an answer in words; never a broken server."""
    headers = {**consenting.bearer, "Content-Type": content_type}
    answer = consenting.client.post(path, content=body, headers=headers)
    assert answer.status_code in _REFUSALS | {200}
    if answer.status_code == 200:
        assert path.endswith("code") or not answer.json().get("acquired", True)
    else:
        assert answer.json()["message"]


def test_after_all_that_a_hand_is_enrolled(consenting: Bench) -> None:
    """The garbage above changed nothing for the pupil."""
    assert 200 == consenting.enroll(ADA, [placement(1, n) for n in (3, 4, 5)]).status_code


@pytest.mark.parametrize("images", [1, 4])
def test_too_large_an_upload_is_refused(consenting: Bench, images: int) -> None:
    """One picture past the limit, or more pictures than three: 413 or 400, whatever they say of themselves."""
    size = PLACEMENT_BYTES_MAX + 1 if images == 1 else 1000
    files = [("placement", ("x.jpg", b"\xff\xd8" + bytes(size), "image/jpeg"))] * images
    answer = consenting.client.post(f"/api/eleves/{ADA}/main", files=files, headers=consenting.bearer)
    assert answer.status_code in {400, 413}
    assert answer.json()["message"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(segment=st.text(max_size=30), q=st.text(max_size=200))
def test_odd_addresses_are_answered(consenting: Bench, segment: str, q: str) -> None:
    """No address and no search breaks the server."""
    from urllib.parse import quote

    for path in (f"/eleves/{quote(segment, safe='')}", f"/api/eleves/{quote(segment, safe='')}/code"):
        assert consenting.client.get(path, headers=consenting.bearer).status_code in {307, 404, 405}
    answer = consenting.client.get("/", params={"q": q, "etat": q, "classe": q}, headers=consenting.bearer)
    assert 200 == answer.status_code
