"""Whether this terminal can serve lunch: known answers of the cryptography, then each thing it depends on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from canteen.errors import CanteenError
from sync.sealing import OpeningKey
from terminal.devices import Devices

_log = logging.getLogger("canteen.terminal.self_test")

_RFC8032_TEST2_KEY = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
_RFC8032_TEST2_MESSAGE = bytes.fromhex("72")
_RFC8032_TEST2_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
_GCM_ALL_ZERO = bytes.fromhex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")
"""AES-256-GCM, key, nonce and 16 bytes of plaintext all zero (McGrew and Viega, test case 14)."""

_BOARD_WITHIN_S = 1.0
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    remark: str = ""


def run_self_test(devices: Devices) -> tuple[Check, ...]:
    """Look at everything once. Whether the disk takes a fact, the recovery before it has shown."""
    return (
        _check("cryptography", _known_answers),
        _check("store", lambda: devices.store.document("calendar") is None or True),
        _check("journal", lambda: devices.journal.last_sequence >= 0),
        _check("orders", lambda: devices.box.done_up_to >= 0),
        _check("camera", devices.hand_reader.sees_the_platen),
        _check("board", lambda: _comes_online(devices)),
    )


def _comes_online(devices: Devices) -> bool:
    """The board says within a second of the start whether it is there."""
    until_s = time.monotonic() + _BOARD_WITHIN_S
    while not devices.board.online and time.monotonic() < until_s:
        time.sleep(_PAUSE_S)
    return devices.board.online


def _check(name: str, look: Callable[[], bool]) -> Check:
    try:
        passed, remark = look(), ""
    except CanteenError as error:
        passed, remark = False, type(error).__name__
    if not passed:
        _log.warning("self test: %s does not answer%s", name, f" ({remark})" if remark else "")
    return Check(name, passed, remark)


def _known_answers() -> bool:
    """Whether signatures, encryption and sealing give the published results here."""
    try:
        Ed25519PublicKey.from_public_bytes(_RFC8032_TEST2_KEY).verify(_RFC8032_TEST2_SIGNATURE, _RFC8032_TEST2_MESSAGE)
    except InvalidSignature:
        return False
    if AESGCM(bytes(32)).encrypt(bytes(12), bytes(16), None) != _GCM_ALL_ZERO:
        return False
    ours = OpeningKey(bytes(range(32)))
    context = {"what": "self-test"}
    return ours.open(ours.sealing_key.seal(b"known", context), context) == b"known"
