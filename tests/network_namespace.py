"""A network of a test's own, in which packets can be lost and connections reset; needs root and nftables."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_CLONE_NEWNET = 0x40000000


class Network:
    """The loopback of this namespace. Faults are for one TCP port, so that the pages beside it stay well."""

    def lose(self, percent: int, port: int) -> None:
        """Drop this share of the packets to and from `port`."""
        self._drop(port, f"numgen random mod 100 < {percent} ")

    def reset(self, port: int) -> None:
        """Answer everything sent to `port` with a reset."""
        self.heal()
        self._nft(f"add rule inet faults out tcp dport {port} reject with tcp reset")

    def swallow(self, port: int) -> None:
        """Let nothing through and say nothing: a cable cut behind the school's router."""
        self._drop(port, "")

    def heal(self) -> None:
        self._nft("flush chain inet faults out")

    def _drop(self, port: int, which: str) -> None:
        self.heal()
        for side in ("dport", "sport"):
            self._nft(f"add rule inet faults out tcp {side} {port} {which}drop")

    @staticmethod
    def _nft(command: str) -> None:
        subprocess.run(["nft", *command.split()], check=True, capture_output=True)

    def prepare(self) -> None:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self._nft("add table inet faults")
        self._nft("add chain inet faults out { type filter hook output priority 0 ; }")


@contextmanager
def own_network() -> Iterator[Network]:
    """This thread, and what it starts, in a new network namespace; back in the old one afterwards."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    if shutil.which("nft") is None or shutil.which("ip") is None:
        pytest.skip("nftables or iproute2 is not installed (Debian packages)")
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            pytest.skip(f"no network namespace here: {os.strerror(ctypes.get_errno())}")
        try:
            network = Network()
            network.prepare()
            yield network
        finally:
            if libc.setns(before, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot go back to the first network namespace")
    finally:
        os.close(before)
