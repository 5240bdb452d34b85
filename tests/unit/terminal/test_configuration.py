"""The TOML file: what is read, and a sentence for everything that is refused."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from terminal.configuration import VideoCameraSource, read_configuration
from terminal.errors import ConfigurationRefused

KEY = base64.b64encode(bytes(range(32))).decode()
GOOD = f"""
device = "terminal-1"
production = true
[storage]
journal = "a/journal.sqlite"
orders = "orders.sqlite"
store = "store.sqlite"
store_key = "store.key"
signing_key = "/etc/canteen/signing.key"
sealing_key = "sealing.key"
[trust]
server_signing_key = "{KEY}"
[board]
serial = "/dev/ttyUSB0"
channel_key = "channel.key"
[camera]
kind = "video"
device = 0
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "terminal.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_good(tmp_path: Path) -> None:
    """Relative paths start at the file; what may be left out has its default, and production is the default."""
    read = read_configuration(write(tmp_path, GOOD.replace("production = true", "")))
    assert tmp_path / "a/journal.sqlite" == read.journal
    assert Path("/etc/canteen/signing.key") == read.signing_key
    assert VideoCameraSource(0) == read.camera
    assert (True, "fr", 101, "127.0.0.1", 8003, 6.0) == (
        read.production,
        read.language,
        read.board.peripherals[0].address,
        read.display_host,
        read.display_port,
        read.passage_timeout_s,
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"terminal-1"', '"Terminal 1"', "device"),
        ("production = true", 'production = "yes"', "production is true or false"),
        ('device = "terminal-1"\n', "", "device is missing"),
        ("[camera]", "[kamera]", "[camera]"),
        ('"video"', '"webcam"', "[camera] kind is one of video, simulated, recorded"),
        ("device = 0", "device = true", "[camera] device"),
        (KEY, "AAAA", "server_signing_key is 32 bytes"),
        (KEY, "%%%", "server_signing_key is 32 bytes"),
        ('channel_key = "channel.key"', "", "[board] channel_key is missing"),
        ('serial = "/dev/ttyUSB0"', "serial = 5", "[board] serial is text"),
        ("[camera]", '[display]\nhost = "0.0.0.0"\n[camera]', "[display] host is a loopback address"),
        ("[camera]", '[display]\nhost = "kiosk.local"\n[camera]', "[display] host is a loopback address"),
        ("[camera]", "[display]\nport = 70000\n[camera]", "[display] port is a whole number from 0 to 65535"),
        ("[camera]", "[passage]\ntimeout_s = 90\n[camera]", "[passage] timeout_s"),
        ("[storage]", 'langauge = "en"\n[storage]', "langauge is no setting"),
        ("[trust]", 'jurnal = "x"\n[trust]', "[storage] jurnal is no setting"),
        ("[storage]", "code_length = 4\n[storage]", "code_length is no setting"),
        ("[storage]", "[storage", "not TOML"),
    ],
)
def test_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    """The sentence names the file and the setting."""
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigurationRefused) as refused:
        read_configuration(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_missing_and_binary(tmp_path: Path) -> None:
    """No file and no text are refused the same way."""
    with pytest.raises(ConfigurationRefused):
        read_configuration(tmp_path / "none.toml")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationRefused):
        read_configuration(path)
