"""The rule for USB sticks, judged by udev itself: a loop device stands in for the stick, its bus is written over it.

What `systemd-mount` then does is systemd's; that it is asked for, and for what, is ours.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RULE = Path(__file__).resolve().parents[2] / "systemd" / "canteen-stick.rules"
_PROGRAMS = ("udevadm", "losetup", "unshare", "mkfs.ext4")

# Everything udev writes goes into folders that end with the namespace.
_JUDGE = """\
set -e
mkdir -p /etc/udev/rules.d /run/udev
mount -t tmpfs none /etc/udev/rules.d
mount -t tmpfs none /run/udev
mount -t tmpfs none /dev
mknod "$1" b 7 "${1#/dev/loop}"
echo "SUBSYSTEM==\\"block\\", ENV{ID_BUS}=\\"$3\\"" > /etc/udev/rules.d/10-bus.rules
cp "$2" /etc/udev/rules.d/90-canteen-stick.rules
udevadm test --action=add "/sys/block/${1#/dev/}" 2>&1
"""


def test_a_stick_is_mounted_for_the_program_with_the_network(tmp_path: Path) -> None:
    """Without devices, programs or set-user-id on it, and where it is looked for."""
    with looped(fat(tmp_path)) as device:
        (asked,) = asked_for(device, "usb")
    assert f" {device} /media/stick" in asked
    assert "--owner=canteen-sync" in asked
    assert "--options=nosuid,nodev,noexec" in asked


def test_nothing_else_is(tmp_path: Path) -> None:
    """A stick with a file system that knows links and owners, one without any, and a disk of the machine."""
    with looped(ext4(tmp_path)) as device:
        assert [] == asked_for(device, "usb")
    with looped(blank(tmp_path)) as device:
        assert [] == asked_for(device, "usb")
    with looped(fat(tmp_path)) as device:
        assert [] == asked_for(device, "ata")


def asked_for(device: str, bus: str) -> list[str]:
    """What udev would run for a block device that is new on this bus."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _JUDGE, "sh", device, str(RULE), bus]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert f"DEVNAME={device}" in done.stdout, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    said = [line for line in lines if "canteen-stick.rules:" in line]
    assert all(" RUN '" in line for line in said), said  # otherwise udev complains of a line
    return [line for line in lines if line.startswith("run: ") and "systemd-mount" in line]


@contextmanager
def looped(image: Path) -> Iterator[str]:
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"wants root and {', '.join(missing) or 'nothing else'}")
    made = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, timeout=30, check=False
    )
    if made.returncode != 0:
        pytest.skip("no loop device here")
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], timeout=30, check=True)


def blank(folder: Path) -> Path:
    image = folder / "blank"
    with image.open("wb") as file:
        file.truncate(4 * 1024 * 1024)
    return image


def ext4(folder: Path) -> Path:
    image = blank(folder).rename(folder / "ext4")
    subprocess.run(["mkfs.ext4", "-q", image], timeout=30, check=True)
    return image


def fat(folder: Path) -> Path:
    """The first sectors of an empty stick of 4 MiB, as its maker formats it."""
    sectors, sectors_a_table = 8192, 8
    boot = bytearray(512)
    boot[0:11] = b"\xeb\x3c\x90MSWIN4.1"
    struct.pack_into("<HBHBHHBHHHII", boot, 11, 512, 4, 1, 2, 512, sectors, 0xF8, sectors_a_table, 32, 64, 0, 0)
    boot[36], boot[38] = 0x80, 0x29
    boot[39:62] = b"1234CANTEEN    FAT16   "
    boot[510:512] = b"\x55\xaa"
    image = blank(folder).rename(folder / "fat")
    with image.open("r+b") as file:
        file.write(boot)
        for table in range(2):
            file.seek(512 * (1 + table * sectors_a_table))
            file.write(b"\xf8\xff\xff\xff")
    return image
