"""The units: systemd understands every line, and each is hardened; any word of `verify` is a failure."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
UNITS = sorted((PROJECT / "systemd").glob("*.service"))
DROP_INS = sorted((PROJECT / "systemd").glob("key-*.conf"))
EXPOSURE_AT_MOST = "20"  # tenths: 2.0 is what systemd itself calls OK

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian package systemd)"
)


def installed(unit: Path, folder: Path, drop_in: Path | None = None) -> Path:
    """The unit as on a terminal, with a program that exists here; of a template, its first instance."""
    path = folder / unit.name.replace("@.", "@1.")
    path.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text()))
    if drop_in is not None:
        (folder / f"{path.name}.d").mkdir()
        shutil.copy(drop_in, folder / f"{path.name}.d" / "key.conf")
    return path


def test_there_is_one_unit_a_process() -> None:
    """Terminal, sync, station, billing and its workers, the lanes' broker, and what restarts the server's broker."""
    assert ["billing", "broker", "ingest@", "lane-broker", "station", "sync", "terminal"] == [
        unit.stem.removeprefix("canteen-") for unit in UNITS
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    """`verify` exits 0 on unknown keys, so silence is asked for."""
    answer = subprocess.run(
        ["systemd-analyze", "verify", str(installed(unit, tmp_path))], capture_output=True, text=True, check=False
    )
    assert (0, "", "") == (answer.returncode, answer.stdout, answer.stderr)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_each_is_hardened(unit: Path, tmp_path: Path) -> None:
    """Systemd's own exposure score stays low."""
    answer = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--threshold={EXPOSURE_AT_MOST}",
            "--no-pager",
            str(installed(unit, tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-200:]


@pytest.mark.parametrize("name", ["terminal", "station"])
@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda drop_in: drop_in.stem)
def test_a_key_source_opens_no_more_than_itself(drop_in: Path, name: str, tmp_path: Path) -> None:
    """With the drop-in of a credential or a TPM: understood, and hardened as before."""
    unit = installed(PROJECT / f"systemd/canteen-{name}.service", tmp_path, drop_in)
    answer = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (0, "", "") == (answer.returncode, answer.stdout, answer.stderr)
    limit = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_AT_MOST}", "--no-pager"]
    answer = subprocess.run([*limit, str(unit)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-200:]


def test_the_program_with_the_secrets_has_no_network_and_the_other_no_secrets() -> None:
    """The split of a terminal in two, said in the units."""
    terminal = (PROJECT / "systemd/canteen-terminal.service").read_text()
    sync = (PROJECT / "systemd/canteen-sync.service").read_text()
    assert "IPAddressDeny=any" in terminal
    assert "IPAddressAllow=localhost" in terminal
    assert "InaccessiblePaths=-/var/lib/canteen/terminal" in sync
    assert "PrivateDevices=yes" in sync
