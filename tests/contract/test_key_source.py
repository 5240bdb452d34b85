"""One suite over every key source, with the epoch keeper that it brings, and what else is kept under it: file, systemd
credential, TPM, split key.
"""

from __future__ import annotations

import base64
import errno
import importlib.util
import secrets
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.consent import Consent, GivenBy
from canteen.credentials import PersonalCode
from canteen.identifiers import PupilId
from canteen.private_file import PrivateFileRefused, create_private_file, read_private_file
from templates_store.encrypted_store import EncryptedStore
from templates_store.epoch_keys import EpochKeeper
from templates_store.errors import KeyUnavailable, StoreRolledBack
from templates_store.kept_secret import Keeping, KeptSecrets, SecretKind
from templates_store.key_source import FileKeySource, KeySource, epochs_beside
from templates_store.split_key import SplitKeySource
from templates_store.store import Erasure, PupilRecord, StoredReference
from templates_store.systemd_credential import SystemdKeySource
from templates_store.tpm import Tpm, TpmKeySource
from tests.contract.software_tpm import SoftwareTpm

NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
CONSENT = Consent("2026-09", GivenBy.LEGAL_REPRESENTATIVE, NOW)
ADA, ALAN = PupilId("p-00000000000000aa"), PupilId("p-00000000000000bb")

HAS_TPM = shutil.which("swtpm") is not None and importlib.util.find_spec("tpm2_pytss") is not None
needs_tpm = pytest.mark.skipif(not HAS_TPM, reason="wants swtpm, tpm2-tools and the extra [tpm]")


@dataclass(frozen=True)
class Place:
    """Where a key source lives, and how it is taken away."""

    folder: Path
    source: KeySource
    take_away: Callable[[], None]

    @property
    def store(self) -> Path:
        return self.folder / "store.db"


def _file(folder: Path) -> Place:
    source = FileKeySource(folder / "store.key")
    return Place(folder, source, (folder / "store.key").unlink)


def _credential(folder: Path, secret: bytes) -> SystemdKeySource:
    """A directory as systemd makes it: 0500, the credential 0400."""
    directory = folder / "credentials"
    directory.mkdir(mode=0o700)
    (directory / "canteen-store-key").write_bytes(secret)
    (directory / "canteen-store-key").chmod(0o400)
    directory.chmod(0o500)
    return SystemdKeySource(directory=directory)


def _systemd(folder: Path) -> Place:
    source = _credential(folder, secrets.token_bytes(32))
    return Place(folder, source, lambda: shutil.rmtree(folder / "credentials"))


def _split(folder: Path) -> Place:
    source = SplitKeySource(FileKeySource(folder / "store.key"), _credential(folder, secrets.token_bytes(32)))
    return Place(folder, source, lambda: shutil.rmtree(folder / "credentials"))


@pytest.fixture(scope="module")
def software_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """One for all: its counter goes on, as that of a machine does."""
    tpm = SoftwareTpm(tmp_path_factory.mktemp("tpm"))
    yield tpm
    tpm.stop()


@pytest.fixture(params=["file", "systemd", "split", pytest.param("tpm", marks=needs_tpm)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A key source in a folder of its own."""
    if request.param == "tpm":
        tpm: SoftwareTpm = request.getfixturevalue("software_tpm")
        source = TpmKeySource(tmp_path / "store.key", Tpm(tpm.tcti))
        return Place(tmp_path, source, (tmp_path / "store.key").unlink)
    return {"file": _file, "systemd": _systemd, "split": _split}[request.param](tmp_path)


def _filled(place: Place) -> EncryptedStore:
    store = EncryptedStore(place.store, place.source)
    store.put_pupils(
        [
            (PupilRecord(ADA, "Ada", "", "6e A", ()), PersonalCode("0013")),
            (PupilRecord(ALAN, "Alan", "", "6e A", ()), PersonalCode("0021")),
        ],
        whole=True,
    )
    store.put_reference(ADA, 1, CONSENT, b"hand")
    store.put_reference(ALAN, 1, CONSENT, b"other hand")
    store.renew_lease(NOW + timedelta(days=7))
    return store


def test_the_secret_is_always_the_same(place: Place) -> None:
    """32 bytes, for every call and every new source at the same place."""
    secret = place.source.secret(may_create=True)
    assert 32 == len(secret)
    assert secret == place.source.secret(may_create=False)
    assert secret == place.source.secret(may_create=True)


def test_a_secret_that_is_gone_is_a_named_error(place: Place) -> None:
    """For a store that exists nothing is made in its place."""
    place.source.secret(may_create=True)
    place.take_away()
    with pytest.raises(KeyUnavailable):
        place.source.secret(may_create=False)


def test_no_secret_is_shown(place: Place) -> None:
    """Neither source nor keeper has it in its text."""
    secret = place.source.secret(may_create=True)
    epoch = place.source.epochs(place.store).prepare(1)
    shown = repr(place.source) + repr(place.source.epochs(place.store))
    for hidden in (secret, epoch):
        assert hidden.hex() not in shown
        assert repr(hidden) not in shown


def test_epochs_are_prepared_settled_and_destroyed(place: Place) -> None:
    """One epoch after the other; while two are kept both open, afterwards only the one that was settled."""
    keeper = place.source.epochs(place.store)
    assert () == keeper.kept()
    first = keeper.prepare(1)
    keeper.settle(1)
    assert (1,) == keeper.kept()
    assert first == keeper.open(1)
    second = keeper.prepare(2)
    assert second != first
    assert (1, 2) == keeper.kept()
    assert (first, second) == (keeper.open(1), keeper.open(2))
    keeper.settle(2)
    keeper.settle(2)
    assert (2,) == keeper.kept()
    assert second == place.source.epochs(place.store).open(2)
    with pytest.raises(StoreRolledBack):
        keeper.open(1)
    with pytest.raises(StoreRolledBack):
        keeper.settle(1)


def test_an_epoch_that_was_prepared_and_not_begun_is_given_up(place: Place) -> None:
    """Prepared again it is another one; settling the present one forgets it."""
    keeper = place.source.epochs(place.store)
    first = keeper.prepare(1)
    keeper.settle(1)
    abandoned = keeper.prepare(2)
    again = keeper.prepare(2)
    assert abandoned != again
    assert first == keeper.open(1)
    keeper.settle(1)
    assert (1,) == keeper.kept()
    assert first == keeper.open(1)
    third = keeper.prepare(2)
    keeper.settle(2)
    assert third == keeper.open(2)


def test_a_damaged_epoch_file_is_a_named_error(place: Place) -> None:
    """Cut short, or one bit changed."""
    keeper = place.source.epochs(place.store)
    keeper.prepare(1)
    file = place.store.with_name("store.db.epoch")
    content = file.read_bytes()
    for spoiled in (content[:-1], b"", b"\xff" + content[1:]):
        file.write_bytes(spoiled)
        with pytest.raises(KeyUnavailable):
            keeper.open(1)


def test_a_store_lives_with_it(place: Place) -> None:
    """Filled, closed, opened, purged, opened: what was purged is gone, the rest is there."""
    _filled(place).close()
    store = EncryptedStore(place.store, place.source)
    assert StoredReference(ADA, 1, CONSENT, b"hand") == store.reference(ADA, NOW)
    store.purge(ADA, Erasure.EVERYTHING)
    store.close()
    again = EncryptedStore(place.store, place.source)
    assert again.pupil(ADA) is None
    assert StoredReference(ALAN, 1, CONSENT, b"other hand") == again.reference(ALAN, NOW)
    again.close()


def test_yesterdays_file_does_not_open_today(place: Place) -> None:
    """File and log of before a purge, put back: refused as an older copy."""
    store = _filled(place)
    copies = [
        (path, path.read_bytes())
        for path in place.folder.glob("store.db*")
        if "db-" in path.name or path.suffix == ".db"
    ]
    store.purge(ADA, Erasure.EVERYTHING)
    store.close()
    for path, content in copies:
        path.write_bytes(content)
    with pytest.raises(StoreRolledBack):
        EncryptedStore(place.store, place.source)


def test_without_its_secret_a_store_does_not_open(place: Place) -> None:
    """The thief of the store without the other half."""
    _filled(place).close()
    place.take_away()
    with pytest.raises(KeyUnavailable):
        EncryptedStore(place.store, place.source)


# What one source has that the others have not


@needs_tpm
def test_with_a_tpm_a_whole_older_card_does_not_open(software_tpm: SoftwareTpm, tmp_path: Path) -> None:
    """Everything on the card put back, keys and marks included: the TPM's counter has moved on."""
    card, copy = tmp_path / "card", tmp_path / "copy"
    card.mkdir()
    place = Place(card, TpmKeySource(card / "store.key", Tpm(software_tpm.tcti)), lambda: None)
    store = _filled(place)
    shutil.copytree(card, copy)
    store.purge(ADA, Erasure.EVERYTHING)
    store.close()
    shutil.rmtree(card)
    shutil.copytree(copy, card)
    with pytest.raises(StoreRolledBack):
        EncryptedStore(place.store, place.source)


@needs_tpm
def test_a_tpm_does_not_unseal_on_a_machine_started_otherwise(tmp_path: Path) -> None:
    """A register of the policy differs: refused; started as before, it opens again."""
    tpm = SoftwareTpm(tmp_path)
    try:
        place = Place(tmp_path, TpmKeySource(tmp_path / "store.key", Tpm(tpm.tcti)), lambda: None)
        _filled(place).close()
        tpm.extend(7)
        with pytest.raises(KeyUnavailable):
            EncryptedStore(place.store, place.source)
        tpm.stop()
        with pytest.raises(KeyUnavailable):
            EncryptedStore(place.store, place.source)
        tpm.start()
        store = EncryptedStore(place.store, place.source)
        assert StoredReference(ADA, 1, CONSENT, b"hand") == store.reference(ADA, NOW)
        store.close()
    finally:
        tpm.stop()


@needs_tpm
def test_the_card_in_another_machine(software_tpm: SoftwareTpm, tmp_path: Path) -> None:
    """The thief with the whole card, and another TPM."""
    place = Place(tmp_path, TpmKeySource(tmp_path / "store.key", Tpm(software_tpm.tcti)), lambda: None)
    _filled(place).close()
    other = SoftwareTpm(tmp_path)
    try:
        with pytest.raises(KeyUnavailable):
            EncryptedStore(place.store, TpmKeySource(tmp_path / "store.key", Tpm(other.tcti)))
    finally:
        other.stop()


@pytest.mark.parametrize("mode", [0o444, 0o404, 0o600, 0o460])
def test_a_credential_that_systemd_did_not_make_is_refused(tmp_path: Path, mode: int) -> None:
    """Others may read it, or somebody may write it."""
    source = _credential(tmp_path, bytes(32))
    (tmp_path / "credentials" / "canteen-store-key").chmod(mode)
    with pytest.raises(KeyUnavailable, match="open to others"):
        source.secret(may_create=False)


@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_credentials_as_systemd_makes_them(tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """0400, or 0440 where an access list stands behind the group's bits; found by $CREDENTIALS_DIRECTORY."""
    _credential(tmp_path, bytes(range(32)))
    (tmp_path / "credentials" / "canteen-store-key").chmod(mode)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(KeyUnavailable, match="LoadCredentialEncrypted"):
        SystemdKeySource().secret(may_create=True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert bytes(range(32)) == SystemdKeySource().secret(may_create=True)
    with pytest.raises(KeyUnavailable):
        SystemdKeySource("another-name").secret(may_create=True)


@pytest.mark.skipif(shutil.which("systemd-creds") is None, reason="wants systemd-creds")
def test_a_credential_goes_through_systemd_creds(tmp_path: Path) -> None:
    """Encrypted as the administrator does it, decrypted as systemd does before it starts the unit."""
    (tmp_path / "plain").write_bytes(bytes(range(32)))
    common = ["systemd-creds", "--with-key=tpm2-absent", "--name=canteen-store-key"]
    made = subprocess.run(
        [*common, "encrypt", str(tmp_path / "plain"), str(tmp_path / "cred")],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    if made.returncode:
        pytest.skip(f"systemd-creds does not encrypt here: {made.stderr.strip()[:100]}")
    opened = subprocess.run(
        [*common, "decrypt", str(tmp_path / "cred"), "-"], capture_output=True, check=True, timeout=20
    ).stdout
    assert bytes(range(32)) not in (tmp_path / "cred").read_bytes()
    assert bytes(range(32)) == _credential(tmp_path, opened).secret(may_create=False)


def test_one_part_of_a_split_key_is_worth_nothing(tmp_path: Path) -> None:
    """With another device part every key differs, the one that codes are looked up by included."""
    file = FileKeySource(tmp_path / "store.key")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = SplitKeySource(file, _credential(tmp_path / "a", bytes(32)))
    other = SplitKeySource(file, _credential(tmp_path / "b", bytes(31) + b"\x01"))
    swapped = SplitKeySource(one.device, one.first)
    drawn = {source.secret(may_create=True) for source in (one, other, swapped, file)}
    assert 4 == len(drawn)


# Other secrets, kept as the store's


def _on_the_card(place: Place) -> list[Path]:
    """What lies on the flash card: everything but the machine's own part."""
    return [path for path in place.folder.rglob("*") if path.is_file() and "credentials" not in path.parts]


def _is_plain(place: Place) -> bool:
    return isinstance(place.source, FileKeySource)


def test_other_secrets_are_kept_as_the_stores_is(place: Place) -> None:
    """Read again by their kind alone; replaced as a whole; 0600; in the clear only beside a plain key."""
    kept, path = KeptSecrets(place.source, may_create=True), place.folder / "channel.key"
    assert kept.keeping(path, 16) is Keeping.MISSING
    first, second = secrets.token_bytes(16), secrets.token_bytes(16)
    kept.keep(path, first, SecretKind.CHANNEL_KEY)
    assert first == KeptSecrets(place.source).read(path, 16, SecretKind.CHANNEL_KEY)
    kept.keep(path, second, SecretKind.CHANNEL_KEY)
    assert second == kept.read(path, 16, SecretKind.CHANNEL_KEY)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert _is_plain(place) == (second in path.read_bytes())
    assert (Keeping.PLAIN if _is_plain(place) else Keeping.WRAPPED) is kept.keeping(path, 16)
    with pytest.raises(PrivateFileRefused):
        kept.read(path, 32, SecretKind.CHANNEL_KEY)
    if not _is_plain(place):
        with pytest.raises(KeyUnavailable):
            kept.read(path, 16, SecretKind.CARD_READING)
    assert second.hex() not in repr(kept)


def test_a_plain_secret_is_taken_in(place: Place) -> None:
    """At the first reading: wrapped in its own place, and the bytes it lay in are overwritten."""
    path, secret = place.folder / "channel.key", secrets.token_bytes(16)
    create_private_file(path, secret)
    kept = KeptSecrets(place.source, may_create=True)
    with path.open("rb") as old:
        assert secret == kept.read(path, 16, SecretKind.CHANNEL_KEY)
        assert old.read() == (secret if _is_plain(place) else bytes(16))
    assert secret == KeptSecrets(place.source).read(path, 16, SecretKind.CHANNEL_KEY)
    held = b"".join(file.read_bytes() for file in _on_the_card(place))
    assert _is_plain(place) == (secret in held)


def test_two_programs_take_in_the_same_secret(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command beside the starting service has opened the plain file when the service overwrites it."""
    path, secret = place.folder / "card-master.key", secrets.token_bytes(32)
    create_private_file(path, secret)
    place.source.secret(may_create=True)
    kept, read = KeptSecrets(place.source), read_private_file
    service = threading.Thread(target=lambda: found.append(kept.read(path, 32, SecretKind.CARD_MASTER)))
    found: list[bytes] = []

    def slow(file: Path, size: int) -> bytes:
        """The file is open when the service starts, and read a little later."""
        if threading.current_thread() is not service and service.ident is None and file == path:
            with path.open("rb") as opened:
                service.start()
                service.join(0.3)
                return opened.read(size)
        return read(file, size)

    monkeypatch.setattr("templates_store.kept_secret.read_private_file", slow)
    found.append(kept.read(path, 32, SecretKind.CARD_MASTER))
    service.join(30)
    assert [secret, secret] == found
    assert secret == KeptSecrets(place.source).read(path, 32, SecretKind.CARD_MASTER)


def test_a_disk_that_takes_no_writes_stops_no_lunch(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain secret is used as it is, and taken in another time."""
    path, secret = place.folder / "channel.key", secrets.token_bytes(16)
    create_private_file(path, secret)
    kept = KeptSecrets(place.source, may_create=True)
    place.source.secret(may_create=True)
    with monkeypatch.context() as full:

        def no_room(*_: object) -> None:
            raise OSError(errno.ENOSPC, "full")

        full.setattr("templates_store.kept_secret.replace_private_file", no_room)
        assert secret == kept.read(path, 16, SecretKind.CHANNEL_KEY)
    assert kept.keeping(path, 16) is Keeping.PLAIN
    assert secret == kept.read(path, 16, SecretKind.CHANNEL_KEY)
    assert _is_plain(place) == (kept.keeping(path, 16) is Keeping.PLAIN)


def test_a_spoiled_secret_is_a_named_error(place: Place) -> None:
    """Any bit of it, any length, another's content: never another key, never another exception."""
    kept, path = KeptSecrets(place.source, may_create=True), place.folder / "channel.key"
    kept.keep(path, secrets.token_bytes(16), SecretKind.CHANNEL_KEY)
    content = path.read_bytes()
    if _is_plain(place):
        spoiled = [content[:-1], b"", content + b"\x00"]
    else:
        # Not one of all bits with a TPM, which is asked each time.
        step = 61 if isinstance(place.source, TpmKeySource) else 1
        spoiled = [_with_bit_flipped(content, bit) for bit in range(0, 8 * len(content), step)]
        spoiled += [content[:length] for length in range(len(content)) if length != 16]
    for one in spoiled:
        path.write_bytes(one)
        with pytest.raises((KeyUnavailable, PrivateFileRefused)):
            kept.read(path, 16, SecretKind.CHANNEL_KEY)


def _with_bit_flipped(content: bytes, bit: int) -> bytes:
    at = bit // 8
    return content[:at] + bytes([content[at] ^ 1 << bit % 8]) + content[at + 1 :]


def test_the_thief_of_the_card_has_no_board_and_no_card(place: Place) -> None:
    """Neither the keys in any spelling, nor anything on the card that opens them: each 32 bytes of it are tried."""
    if _is_plain(place):
        pytest.skip("a plain key file keeps nothing from a thief, and says so (SECURITY.md)")
    store = _filled(place)
    kept = KeptSecrets(place.source)
    channel, cards = secrets.token_bytes(16), secrets.token_bytes(32)
    create_private_file(place.folder / "channel.key", channel)
    kept.read(place.folder / "channel.key", 16, SecretKind.CHANNEL_KEY)
    kept.keep(place.folder / "card-reading.key", cards, SecretKind.CARD_READING)
    store.close()
    stolen = [file.read_bytes() for file in _on_the_card(place)]
    for secret in (channel, cards):
        for spelling in (secret, secret.hex().encode(), base64.b64encode(secret), secret[:8], secret[8:16]):
            assert not any(spelling in content for content in stolen)
    small = [content for content in stolen if len(content) <= 8192]
    tried = {content[at : at + 32] for content in small for at in range(max(0, len(content) - 31))}
    wrapped = (place.folder / "channel.key").read_bytes()
    assert len(tried) > 100
    for guess in tried:
        with pytest.raises(KeyUnavailable):
            KeptSecrets(_Guessed(guess)).read(place.folder / "channel.key", 16, SecretKind.CHANNEL_KEY)
    assert wrapped == (place.folder / "channel.key").read_bytes()


@dataclass(frozen=True)
class _Guessed:
    """What a thief makes of something found on the card."""

    guess: bytes
    in_the_clear: bool = False

    def secret(self, *, may_create: bool) -> bytes:
        del may_create
        return self.guess

    def epochs(self, store: Path) -> EpochKeeper:
        return epochs_beside(store)
