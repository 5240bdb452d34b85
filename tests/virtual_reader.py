"""A real PC/SC daemon with a virtual reader, shut off from the machine, and simulated cards to put on it.

Daemon and cards live in a network namespace and a mount namespace of their own: vpcd listens on every address, and the
daemon's socket has one fixed place. Our own process reaches the socket through /proc, by the name in the environment
that PC/SC's library looks up once.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.processes import leashed
from firmware_bridge.card_keys import new_master_secret

_FOLDER = Path(tempfile.mkdtemp(prefix="pcsc-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_SOCKET = _FOLDER / "pcscd.comm"
_DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
_PROGRAMS = ("pcscd", "ip", "unshare", "nsenter")
_PORT = 0x8C7B
_HOLD = (
    "ip link set lo up && mkdir -p /run/pcscd && mount -t tmpfs tmpfs /run/pcscd && echo ready && exec sleep infinity"
)
UAI = "0311234A"
_CARD_PROGRAM = (sys.executable, "-m", "firmware_bridge.simulated_card", "--uai", UAI, "--secret-file")


class CardProcess:
    """A simulated card as a process of its own, in the reader's namespace."""

    def __init__(self, namespace: list[str], secret_file: Path, state: str, generation: str) -> None:
        self._process = subprocess.Popen(
            leashed([*namespace, *_CARD_PROGRAM, str(secret_file), "--state", state, "--generation", generation]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert "ok" == self._answer()

    def say(self, line: str) -> str:
        """One command to the card, and its answer; what it says of itself in between is passed over."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        while (answer := self._answer()) == "gone":
            pass
        return answer

    def insert(self) -> None:
        """Put it on the reader."""
        assert "ok" == self.say("insert")

    def remove(self) -> None:
        """Take it away."""
        assert "ok" == self.say("remove")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class VirtualReader:
    """The daemon, its one reader, and the cards made for it."""

    def __init__(self, folder: Path) -> None:
        self._configuration = folder / "reader.conf"
        self._configuration.mkdir()
        self._log = folder / "pcscd.log"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._cards: list[CardProcess] = []
        self.master_secret = new_master_secret()
        self._secret_file = folder / "cards.secret"
        self._secret_file.touch(0o600)
        self._secret_file.write_bytes(self.master_secret)
        self._holder = subprocess.Popen(
            leashed(["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _HOLD]),
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            pytest.skip("this machine grants no namespaces of one's own")
        self._namespace = ["nsenter", "-t", str(self._holder.pid), "--net", "--mount"]
        _SOCKET.unlink(missing_ok=True)
        _SOCKET.symlink_to(f"/proc/{self._holder.pid}/root/run/pcscd/pcscd.comm")
        os.environ["PCSCLITE_CSOCK_NAME"] = str(_SOCKET)

    def plug(self) -> None:
        """The reader is there from the daemon's next start."""
        (self._configuration / "vpcd").write_text(
            f'FRIENDLYNAME "Virtual PCD"\nDEVICENAME /dev/null:{_PORT:#x}\nLIBPATH {_DRIVER}\nCHANNELID {_PORT:#x}\n'
        )

    def unplug(self) -> None:
        """The reader is not there from the daemon's next start."""
        (self._configuration / "vpcd").unlink(missing_ok=True)

    def start_daemon(self) -> None:
        """Start the daemon and wait until it listens."""
        with self._log.open("ab") as log:
            command = [*self._namespace, "pcscd", "--foreground", "--error", "-c", str(self._configuration)]
            self._daemon = subprocess.Popen(leashed(command), stdout=log, stderr=log)
        end_s = time.monotonic() + 5
        while not _SOCKET.exists():
            assert time.monotonic() < end_s, self._log.read_text()
            time.sleep(0.01)

    def stop_daemon(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon, cleanly or not."""
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGCONT)
            self._daemon.send_signal(how)
            self._daemon.wait(timeout=5)
            self._daemon = None

    def freeze_daemon(self) -> None:
        """Every call into it hangs from now on."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)

    def thaw_daemon(self) -> None:
        """The calls come back."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGCONT)

    def card(self, state: str = "encoded", generation: str = "ev1") -> CardProcess:
        """A card on the reader."""
        card = CardProcess(self._namespace, self._secret_file, state, generation)
        self._cards.append(card)
        return card

    def close(self) -> None:
        """End everything that was started."""
        for card in self._cards:
            card.close()
        self.stop_daemon()
        self._holder.kill()
        self._holder.wait(timeout=5)
        if self._holder.stdout is not None:
            self._holder.stdout.close()
        _SOCKET.unlink(missing_ok=True)


def why_not() -> str | None:
    """Why there can be no virtual reader here."""
    if os.geteuid() != 0:
        return "namespaces and pcscd want root"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None if _DRIVER.exists() else "not installed: vsmartcard-vpcd"


@contextmanager
def virtual_reader(folder: Path) -> Iterator[VirtualReader]:
    """A daemon with a reader; skips the test, with the reason, where there can be none."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    reader = VirtualReader(folder)
    try:
        reader.plug()
        reader.start_daemon()
        yield reader
    finally:
        reader.close()
