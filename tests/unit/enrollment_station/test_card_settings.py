"""`[cards]` and its key files: every mistake is named, no key is ever replaced."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest

from canteen.private_file import create_private_file
from enrollment_station.card_settings import CardMode, CardSettings, load_encoding_keys, read_card_settings
from enrollment_station.configuration import load_configuration
from enrollment_station.errors import ConfigurationRefused
from enrollment_station.main import main
from firmware_bridge.card_keys import EncodingKeys, ReadingKeys
from templates_store.kept_secret import KeptSecrets
from templates_store.key_source import FileKeySource
from tests.unit.enrollment_station.bench import Bench

_GOOD = {"mode": "encode", "uai": "0311234A", "master_key": "cards.key"}


def test_without_a_table_numbers_are_typed(tmp_path: Path) -> None:
    """As before there were encoded cards."""
    assert CardSettings() == read_card_settings(None, tmp_path)
    assert CardMode.TYPED == CardSettings().mode


def test_a_good_table_is_read(tmp_path: Path) -> None:
    """Files count from the configuration's folder; the application has a default."""
    settings = read_card_settings({**_GOOD, "reader": "ACS", "aid": "C0CA18"}, tmp_path)
    assert settings.layout is not None
    assert ("ACS", "0311234A", b"\xc0\xca\x18") == (settings.reader, settings.layout.uai, settings.layout.aid)
    assert tmp_path / "cards.key" == settings.master_key
    assert tmp_path / "card-reading.key" == settings.reading_key


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ([], "cards"),
        ({"mode": "magic"}, "cards.mode"),
        ({"mod": "encode"}, "cards.mod"),
        ({"mode": 1}, "cards.mode"),
        ({"mode": "encode", "uai": "0311234A"}, "cards.master_key"),
        ({"mode": "encode", "master_key": "k"}, "cards.uai"),
        ({**_GOOD, "uai": "311234A"}, "cards"),
        ({**_GOOD, "aid": "C0CA"}, "cards"),
        ({**_GOOD, "aid": "xyz"}, "cards.aid"),
        ({**_GOOD, "aid": "000000"}, "cards"),
    ],
)
def test_a_wrong_setting_is_named(table: Any, named: str, tmp_path: Path) -> None:
    """So that it can be put right."""
    with pytest.raises(ConfigurationRefused, match=f"^{named}"):
        read_card_settings(table, tmp_path)


def test_card_keys_are_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files of mode 0600, the second derived from the first; again, both are as they were; nothing is printed."""
    bench = Bench(tmp_path)
    bench.close()
    bench.configuration.write_text(f'{bench.configuration.read_text()}[cards]\nmaster_key = "keys/cards.key"\n')
    capsys.readouterr()
    assert 0 == main(["card-keys", "--config", str(bench.configuration)])
    master, reading = tmp_path / "keys" / "cards.key", tmp_path / "keys" / "card-reading.key"
    secret = master.read_bytes()
    assert [0o600, 0o600] == [stat.S_IMODE(file.stat().st_mode) for file in (master, reading)]
    assert EncodingKeys.from_master_secret(secret).reading == ReadingKeys.from_bytes(reading.read_bytes())
    said = capsys.readouterr().out
    assert "Secret des cartes créé" in said
    assert secret.hex() not in said
    reading.unlink()
    assert 0 == main(["card-keys", "--config", str(bench.configuration)])
    assert "Secret des cartes inchangé" in capsys.readouterr().out
    assert secret == master.read_bytes()
    reading.unlink()
    create_private_file(reading, bytes(range(32)))
    assert 2 == main(["card-keys", "--config", str(bench.configuration)])
    assert bytes(range(32)) == reading.read_bytes()


def test_the_secret_of_the_cards_is_kept_as_the_stores_key_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a credential: wrapped from the beginning, a copy for the safe where one is asked for; put back, taken in."""
    machine = tmp_path / "machine"
    machine.mkdir()
    (machine / "canteen-store-key").write_bytes(bytes(range(32)))
    (machine / "canteen-store-key").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(machine))
    (tmp_path / "station").mkdir()
    bench = Bench(tmp_path / "station")
    bench.close()
    text = f'{bench.configuration.read_text()}[cards]\nmaster_key = "cards.key"\n'
    bench.configuration.write_text(re.sub('store_key = ".*"', 'store_key = "systemd:canteen-store-key"', text))
    master, copy = tmp_path / "station" / "cards.key", tmp_path / "copy.key"
    capsys.readouterr()
    assert 0 == main(["card-keys", str(copy), "--config", str(bench.configuration)])
    assert str(copy) in capsys.readouterr().out
    secret = copy.read_bytes()
    assert 0o600 == stat.S_IMODE(copy.stat().st_mode)
    for file in (tmp_path / "station").rglob("*"):
        assert file.is_dir() or secret not in file.read_bytes()
    assert 2 == main(["card-keys", str(copy), "--config", str(bench.configuration)])  # never over another file
    master.unlink()
    create_private_file(master, secret)
    settings = load_configuration(bench.configuration)
    keys = load_encoding_keys(settings.cards, settings.storage.kept_secrets)
    assert EncodingKeys.from_master_secret(secret) == keys
    assert secret not in master.read_bytes()


def test_card_keys_want_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration that names no file: a sentence, exit 2."""
    bench = Bench(tmp_path)
    bench.close()
    assert 2 == main(["card-keys", "--config", str(bench.configuration)])
    assert "cards.master_key" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "mode"), [(bytes(32), 0o600), (b"short", 0o600), (bytes(range(32)), 0o644)])
def test_a_bad_secret_is_refused(tmp_path: Path, content: bytes, mode: int) -> None:
    """Publicly known, cut off, or open to others; and one that is not there."""
    settings = read_card_settings(_GOOD, tmp_path)
    with pytest.raises(ConfigurationRefused, match=r"cards\.master_key"):
        load_encoding_keys(settings, KeptSecrets(FileKeySource(tmp_path / "store.key")))
    (tmp_path / "cards.key").write_bytes(content)
    (tmp_path / "cards.key").chmod(mode)
    with pytest.raises(ConfigurationRefused, match=r"cards\.master_key"):
        load_encoding_keys(settings, KeptSecrets(FileKeySource(tmp_path / "store.key")))
