"""The secure channel's challenges are not those of the last start: libosdp draws them from an unseeded `rand`."""

from __future__ import annotations

import ctypes

import osdp_sys
from osdp import Capability, LibFlag, LogLevel, PDCapabilities, PDInfo

from firmware_bridge.osdp_frames import FRAME_START
from firmware_bridge.peripheral_session import new_panel

_KEY = bytes(range(16))
_CHALLENGE = 0x76
"""CHLNG: the panel's eight random bytes follow, in the clear."""


class _End:
    """One end of a wire in memory; remembers what it has sent."""

    id = 1

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.sent: list[bytes] = []
        self.other: _End | None = None

    def read(self, _max_bytes: int) -> bytes:
        return self.waiting.pop(0) if self.waiting else b""

    def write(self, buf: bytes) -> int:
        self.sent.append(bytes(buf))
        assert self.other is not None
        self.other.waiting.append(bytes(buf)[bytes(buf).find(FRAME_START) :])
        return len(buf)

    def flush(self) -> None:
        self.waiting.clear()


def challenge() -> bytes:
    """The first challenge of a panel that starts after the C library's generator was put back to its beginning."""
    ctypes.CDLL(None).srand(1)
    panel_end, device_end = _End(), _End()
    panel_end.other, device_end.other = device_end, panel_end
    osdp_sys.set_loglevel(LogLevel.Emergency)
    capabilities = PDCapabilities([(Capability.CommunicationSecurity, 1, 0)])
    device = osdp_sys.PeripheralDevice(
        PDInfo(1, device_end, scbk=_KEY, flags=[LibFlag.EnforceSecure]).get(), capabilities=capabilities.get()
    )
    panel = new_panel(PDInfo(1, panel_end, scbk=_KEY, flags=[LibFlag.EnforceSecure]))
    for _ in range(200):
        panel.refresh()
        device.refresh()
        for frame in panel_end.sent:
            at = frame.find(bytes([0x11, 0x01, _CHALLENGE]))  # security block SCS_11, our key, the command
            if at >= 0:
                return frame[at + 3 : at + 11]
    raise AssertionError("no challenge was sent")


def test_each_start_has_its_own_challenge() -> None:
    """With the same one, a session recorded before could be played back: keys typed, cards presented."""
    challenges = {challenge() for _ in range(4)}
    assert 4 == len(challenges)
    assert {8} == {len(one) for one in challenges}
