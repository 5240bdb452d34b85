"""The mechanics of a tray dispenser, without I/O: a stack, one tray a pulse, and a jam that somebody has to clear."""

from __future__ import annotations

STACK = 200


class SimulatedTrayDispenser:
    """One stack, one sensor for a jam and one for the end of the stack."""

    def __init__(self, trays: int = STACK) -> None:
        self.left = trays
        self.given = 0
        self.jammed = False

    @property
    def empty(self) -> bool:
        """Whether the sensor under the stack sees nothing."""
        return self.left == 0

    def pulse(self) -> bool:
        """The motor turns once: True if a tray came."""
        if self.jammed or self.empty:
            return False
        self.left -= 1
        self.given += 1
        return True
