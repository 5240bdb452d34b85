"""A software TPM of its own on the loopback, which can be restarted and have a register extended."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

from demo.processes import leashed


class SoftwareTpm:
    """swtpm over TCP; its control port is always the one after its data port."""

    def __init__(self, folder: Path) -> None:
        self._state = folder / "tpm"
        self._state.mkdir()
        self._port = _two_free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def tcti(self) -> str:
        return f"swtpm:host=127.0.0.1,port={self._port}"

    def start(self) -> None:
        """Switch the machine on: registers are at their beginning, what is stored is still there."""
        listen = f"type=tcp,bindaddr=127.0.0.1,port={self._port}"
        control = f"type=tcp,bindaddr=127.0.0.1,port={self._port + 1}"
        state, started = ("--tpmstate", f"dir={self._state}"), ("--flags", "not-need-init,startup-clear")
        self._process = subprocess.Popen(
            leashed(["swtpm", "socket", "--tpm2", *state, "--server", listen, "--ctrl", control, *started]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        while not (_listens(self._port) and _listens(self._port + 1)):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("swtpm does not start")
            time.sleep(0.02)

    def stop(self) -> None:
        """Switch it off."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def extend(self, register: int) -> None:
        """What another boot loader or another secure boot policy does to a register."""
        subprocess.run(
            ["tpm2_pcrextend", f"{register}:sha256={'ab' * 32}"],
            env={**os.environ, "TPM2TOOLS_TCTI": self.tcti},
            check=True,
            capture_output=True,
            timeout=20,
        )


def _two_free_ports() -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            return port


def _listens(port: int) -> bool:
    """By the kernel's table: connecting would use up the one connection that swtpm takes at a time."""
    wanted = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted and fields[3] == "0A":
            return True
    return False
