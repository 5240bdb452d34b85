"""The world before the terminal: fingers on the keypad, a hand on the platen, a card, a body at the turnstile."""

from __future__ import annotations

import threading
import time

from canteen.credentials import CardNumber
from demo.layout import Layout
from demo.people import Hand
from firmware_bridge.peripheral_client import PeripheralClient, PeripheralState
from hand_geometry.simulated_camera import FrameServer

_BETWEEN_KEYS_S = 0.06
"""As fast as a pupil who knows the code by heart."""


class World:
    """Acts on the simulated devices only: the terminal sees key presses, frames and contacts, as from real ones."""

    def __init__(self, layout: Layout) -> None:
        self._board = PeripheralClient(layout.board_socket)
        self._camera = FrameServer(layout.camera_socket)
        self._typing = threading.Lock()
        self._laid: str | None = None
        self._image: bytes | None = None
        self._placements = 0

    def start(self) -> None:
        """Light the platen: from now on the camera gives frames."""
        self._camera.start()

    def stop(self) -> None:
        self._camera.stop()

    @property
    def laid(self) -> str | None:
        """What lies on the platen, in words, or None."""
        return self._laid

    @property
    def laid_image(self) -> tuple[int, bytes] | None:
        """The number of this placement, and the encoded image on the platen."""
        return None if self._image is None else (self._placements, self._image)

    def press(self, key: str) -> bool:
        return self._board.press(key)

    def type_code(self, digits: str) -> None:
        """Press the keys of a code, one after the other."""
        with self._typing:
            for digit in digits:
                self._board.press(digit)
                time.sleep(_BETWEEN_KEYS_S)

    def lay(self, hand: Hand, whose: str) -> None:
        """Lay a hand on the platen; it lies there until lifted."""
        self.lay_image(hand.encoded(), whose)

    def lay_image(self, encoded: bytes, what: str) -> None:
        """Lay any image on the platen (what somebody uploads is decoded by the terminal's side, not here)."""
        self._camera.lay(encoded)
        self._laid, self._image = what, encoded
        self._placements += 1

    def lift(self) -> None:
        self._camera.lift()
        self._laid = self._image = None

    def present_card(self, card: CardNumber) -> bool:
        return self._board.card(card.hexadecimal)

    def push(self) -> bool:
        """Push the turnstile and walk: True if it turned. Whoever walks takes the hand along."""
        turned = self._board.push()
        if turned:
            self.lift()
        return turned

    def board(self) -> PeripheralState:
        return self._board.state()
