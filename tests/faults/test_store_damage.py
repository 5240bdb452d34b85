"""A damaged store: one bit anywhere, cut short, a full disk. A named error, nothing wrong believed, the rest served."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.consent import Consent, ConsentState, GivenBy
from canteen.credentials import CardNumber, PersonalCode
from canteen.identifiers import PupilId
from canteen.personal_code import personal_codes
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import StoreUnavailable
from templates_store.key_source import FileKeySource
from templates_store.store import Erasure, PupilRecord, StoredReference

NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
CONSENT = Consent("2026-09", GivenBy.LEGAL_REPRESENTATIVE, NOW)
PUPILS = [PupilId(f"p-{n:016x}") for n in range(60)]
CODES = [PersonalCode(code) for code, _ in zip(personal_codes(5), PUPILS, strict=False)]
RECORDS = {p: PupilRecord(p, f"Prénom {n}", f"Nom {n}", "6e A", ()) for n, p in enumerate(PUPILS)}
CARDS = [CardNumber(f"04{n:012X}") for n in range(len(PUPILS))]
FILES = ("store.db", "store.db-wal", "store.key", "store.db.epoch", "store.db.mark")


def _hand(n: int) -> bytes:
    return random.Random(n).randbytes(160)


def _open(folder: Path) -> EncryptedStore:
    return EncryptedStore(folder / "store.db", FileKeySource(folder / "store.key"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pupils; one reference was purged; copied while open, so that the log holds the last half."""
    folder = tmp_path_factory.mktemp("whole")
    store = _open(folder)
    store.put_pupils([(RECORDS[p], code) for p, code in zip(PUPILS, CODES, strict=True)], whole=True)
    for n, (pupil, card) in enumerate(zip(PUPILS, CARDS, strict=True)):
        store.put_card(card, pupil)
        store.put_consent(pupil, ConsentState.GIVEN, CONSENT)
        store.put_reference(pupil, 1, CONSENT, _hand(n))
        if n == 30:
            store.purge(PUPILS[0], Erasure.REFERENCE)
    store.renew_lease(NOW + timedelta(days=7))
    copy = tmp_path_factory.mktemp("copies") / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*-shm"))
    store.close()
    return copy


def _ask_everything(store: EncryptedStore) -> tuple[int, int]:
    """How many questions were answered, and how many refused; an answer that is wrong fails the test."""
    answered = refused = 0
    for n in range(len(PUPILS)):
        for ask in (_by_code, _code, _by_card, _reference):
            try:
                right = ask(store, n)
            except StoreUnavailable:
                refused += 1
            else:
                assert right, (n, ask.__name__)
                answered += 1
    return answered, refused


def _by_code(store: EncryptedStore, n: int) -> bool:
    return store.find_by_code(CODES[n]) == RECORDS[PUPILS[n]]


def _code(store: EncryptedStore, n: int) -> bool:
    return store.code_of(PUPILS[n]) == CODES[n]


def _by_card(store: EncryptedStore, n: int) -> bool:
    found = store.find_by_card(CARDS[n])
    # A log that was cut off: the card came later than what is left, and that it is so is known.
    return store.rolled_back if found is None else (found.pupil, found.blocked) == (PUPILS[n], False)


def _reference(store: EncryptedStore, n: int) -> bool:
    held = store.reference(PUPILS[n], NOW)
    if isinstance(held, StoredReference):
        # The one that was purged must not come back.
        return n != 0 and held == StoredReference(PUPILS[n], 1, CONSENT, _hand(n))
    return n == 0 or store.rolled_back


def test_an_undamaged_copy_answers_everything(whole: Path, tmp_path: Path) -> None:
    """What the damaged ones are compared with."""
    shutil.copytree(whole, tmp_path / "copy")
    store = _open(tmp_path / "copy")
    assert (4 * len(PUPILS), 0) == _ask_everything(store)
    store.close()


def _flip_bits(whole: Path, folder: Path, seed: int, places: int) -> dict[str, int]:
    """Each place in a copy of its own; how often the store refused to open, answered in part, and in whole."""
    draw, outcomes = random.Random(seed), {"refused": 0, "in part": 0, "in whole": 0}
    contents = {name: (whole / name).read_bytes() for name in FILES}
    weights = [len(content) for content in contents.values()]
    for _ in range(places):
        # Half of the places by size, half by file: the small files would hardly ever be hit otherwise.
        name = draw.choices(FILES, weights)[0] if draw.random() < 0.5 else draw.choice(FILES)
        at, bit = draw.randrange(len(contents[name])), draw.randrange(8)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for other, content in contents.items():
            spoiled = bytearray(content)
            if other == name:
                spoiled[at] ^= 1 << bit
            (folder / other).write_bytes(spoiled)
            (folder / other).chmod(0o600)
        try:
            store = _open(folder)
        except StoreUnavailable:
            outcomes["refused"] += 1
            continue
        answered, refused = _ask_everything(store)
        outcomes["in part" if refused else "in whole"] += 1
        assert answered or refused
        store.close()
    return outcomes


def test_one_bit_changed_anywhere(whole: Path, tmp_path: Path) -> None:
    """A hundred places."""
    outcomes = _flip_bits(whole, tmp_path / "flipped", 1, 100)
    assert outcomes["refused"] > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_bit_changed_at_a_thousand_places(whole: Path, tmp_path: Path) -> None:
    """Refused by name, or served but for what lies on the page that is spoiled."""
    outcomes = _flip_bits(whole, tmp_path / "flipped", 2, 1000)
    assert outcomes["refused"] > 0
    assert outcomes["in part"] > 0


@pytest.mark.parametrize("name", FILES)
def test_cut_short(whole: Path, tmp_path: Path, name: str) -> None:
    """Every file at twelve lengths: a named error, or answers that are right."""
    content = (whole / name).read_bytes()
    for length in sorted({len(content) * n // 12 for n in range(12)} | {max(0, len(content) - 1)}):
        folder = tmp_path / str(length)
        shutil.copytree(whole, folder)
        (folder / name).write_bytes(content[:length])
        try:
            store = _open(folder)
        except StoreUnavailable:
            continue
        if name == "store.db-wal":
            # What a log that was cut off held is gone; that it was there is known by the mark.
            assert store.rolled_back
        _ask_everything(store)
        store.close()


@contextmanager
def _no_room() -> Iterator[None]:
    """Every write to a file of this process fails, as on a full disk. Nothing may be printed meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _changes(store: EncryptedStore) -> dict[str, Callable[[], object]]:
    return {
        "enrol": lambda: store.put_reference(PUPILS[1], 2, CONSENT, b"new"),
        "update": lambda: store.put_pupils([(RECORDS[PUPILS[1]], PersonalCode("0013"))], whole=False),
        "purge": lambda: store.purge(PUPILS[1], Erasure.EVERYTHING),
        "roster": lambda: store.put_pupils([(RECORDS[PUPILS[2]], CODES[2])], whole=True),
        "card": lambda: store.block_card(CARDS[1]),
        "lease": lambda: store.renew_lease(NOW + timedelta(days=30)),
    }


@pytest.mark.parametrize("change", ["enrol", "update", "purge", "roster", "card", "lease"])
def test_a_full_disk(whole: Path, tmp_path: Path, change: str) -> None:
    """A named error, all as before, every look-up goes on; with room again the same change is made."""
    shutil.copytree(whole, tmp_path / "copy")
    store = _open(tmp_path / "copy")
    with _no_room():
        failed = False
        try:
            _changes(store)[change]()
        except StoreUnavailable:
            failed = True
        answers = _ask_everything(store)
        lease, epoch = store.lease_until, store.epoch
    assert failed
    assert (4 * len(PUPILS), 0) == answers
    assert (NOW + timedelta(days=7), 2) == (lease, epoch)
    _changes(store)[change]()
    store.close()
    again = _open(tmp_path / "copy")
    assert not again.rolled_back
    if change == "purge":
        assert again.pupil(PUPILS[1]) is None
    if change == "lease":
        assert NOW + timedelta(days=30) == again.lease_until
    again.close()


@pytest.mark.parametrize("room_kib", [1, 20, 60, 100, 140, 200, 260, 400])
def test_a_disk_that_fills_up_during_a_purge(whole: Path, tmp_path: Path, room_kib: int) -> None:
    """At any step: before or after, the retry finishes it, and no earlier copy opens then."""
    shutil.copytree(whole, tmp_path / "copy")
    store = _open(tmp_path / "copy")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_kib * 1024, hard))
    try:
        store.purge(PUPILS[1], Erasure.EVERYTHING)
    except StoreUnavailable:
        pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    gone = store.pupil(PUPILS[1]) is None
    assert gone == (store.reference_revision(PUPILS[1]) == 0)
    assert _hand(2) == getattr(store.reference(PUPILS[2], NOW), "reference", None)
    store.purge(PUPILS[1], Erasure.EVERYTHING)
    store.close()
    again = _open(tmp_path / "copy")
    assert again.pupil(PUPILS[1]) is None
    assert 3 == again.epoch
    assert _hand(2) == getattr(again.reference(PUPILS[2], NOW), "reference", None)
    again.close()
    shutil.copy(whole / "store.db", tmp_path / "copy" / "store.db")
    with pytest.raises(StoreUnavailable):
        _open(tmp_path / "copy")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of its own")
def test_a_card_that_is_read_only(whole: Path, tmp_path: Path) -> None:
    """The flash card's last days: opening or writing is a named error; nothing hangs."""
    mount = tmp_path / "card"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "card", mount], check=False, capture_output=True
    ).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        shutil.copytree(whole, mount, dirs_exist_ok=True)
        store = _open(mount)
        remount = subprocess.run(["mount", "-o", "remount,ro", mount], check=False, capture_output=True)
        if remount.returncode == 0:
            assert RECORDS[PUPILS[1]] == store.find_by_code(CODES[1])
            with pytest.raises(StoreUnavailable):
                store.purge(PUPILS[1], Erasure.REFERENCE)
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True, capture_output=True)
        with pytest.raises(StoreUnavailable):
            _open(mount)
    finally:
        subprocess.run(["umount", mount], check=True, capture_output=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of its own")
def test_a_card_that_is_full(whole: Path, tmp_path: Path) -> None:
    """A true file system without a byte left: a purge is a named error; with room again it is done."""
    mount = tmp_path / "card"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "card", mount], check=False, capture_output=True
    ).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        shutil.copytree(whole, mount, dirs_exist_ok=True)
        store = _open(mount)
        with (mount / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass
        with pytest.raises(StoreUnavailable):
            store.purge(PUPILS[1], Erasure.EVERYTHING)
        assert RECORDS[PUPILS[2]] == store.find_by_code(CODES[2])
        (mount / "ballast").unlink()
        store.purge(PUPILS[1], Erasure.EVERYTHING)
        assert store.pupil(PUPILS[1]) is None
        store.close()
    finally:
        subprocess.run(["umount", mount], check=True, capture_output=True)
