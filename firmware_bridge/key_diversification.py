"""A key of its own for every card, from a school's master key and the card's chip number (NXP AN10922, AES-128).

Opening one card then gives away that card's key, not the school's.
"""

from __future__ import annotations

from firmware_bridge.desfire_crypto import BLOCK_BYTES, KEY_BYTES, cmac
from firmware_bridge.errors import CardMisused

_AES128_CONSTANT = b"\x01"
_INPUT_MIN, _INPUT_MAX = BLOCK_BYTES, 2 * BLOCK_BYTES - 1
"""AN10922 pads every input to two blocks. From 16 bytes on that is what a plain CMAC does by itself; ours has 18."""


def diversified_key(master: bytes, diversification_input: bytes) -> bytes:
    """The 16-byte key of one card.

    Raises:
        CardMisused: a master key that has not 16 bytes, or an input of other than 16 to 31.
    """
    if len(master) != KEY_BYTES or not _INPUT_MIN <= len(diversification_input) <= _INPUT_MAX:
        raise CardMisused("AN10922 wants a key of 16 bytes, and here an input of 16 to 31")
    return cmac(master, _AES128_CONSTANT + diversification_input)
