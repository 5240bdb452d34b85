"""What the screen shows at one moment, as a value and as JSON. Digits are counted here, never shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "page"
"""What the browser gets as it is."""


class Tone(StrEnum):
    """The four looks of the screen; each has its colour, its shape and its lamp."""

    READY = "ready"
    ASK = "ask"
    GRANTED = "granted"
    DENIED = "denied"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Words:
    """One sentence in both languages."""

    fr: str
    en: str

    def filled(self, **values: str) -> Words:
        """Both sentences with {name} replaced by its value. Plain replacement: a name may hold braces."""
        french, english = self.fr, self.en
        for name, value in values.items():
            french, english = (one.replace("{" + name + "}", value) for one in (french, english))
        return Words(french, english)


@dataclass(frozen=True, slots=True)
class LineStatus:
    """What staff want to know at a glance; small, at the foot of the screen."""

    code_length: int = 4
    connected: bool = False
    since: str | None = None
    network: Words = Words("", "")
    backlog: int = 0
    serving_period: str | None = None
    serving_until: str | None = None
    opens_at: str | None = None
    school: str = ""
    clock_trust: str = ""
    tampered: bool = False
    ill: tuple[str, ...] = ()
    cards_read: bool = True
    keys_heard: bool = True
    tray_by_hand: bool = False
    """Whether the tray dispenser gives none."""


@dataclass(frozen=True, slots=True)
class ScreenView:
    """The whole screen."""

    state: str
    tone: Tone
    pictogram: str
    message: Words
    prompt: Words
    language: str = "fr"
    reason: str | None = None
    staff_note: str | None = None
    digits_typed: int = 0
    tries_left: int = 0
    shows_for_s: float | None = None
    first_name: str | None = field(default=None, repr=False)
    took_ms: int | None = None
    place: tuple[float, float] | None = None
    """Where on the drawn hand to look, x and y in 0..1."""
    status: LineStatus = LineStatus()

    def as_json(self) -> dict[str, Any]:
        """The snapshot that the page and the demo read."""
        return {
            "state": self.state,
            "tone": self.tone.value,
            "pictogram": self.pictogram,
            "message": {"fr": self.message.fr, "en": self.message.en},
            "prompt": {"fr": self.prompt.fr, "en": self.prompt.en},
            "language": self.language,
            "reason": self.reason,
            "staff_note": self.staff_note,
            "code_length": self.status.code_length,
            "digits_typed": self.digits_typed,
            "tries_left": self.tries_left,
            "shows_for_s": self.shows_for_s,
            "first_name": self.first_name,
            "took_ms": self.took_ms,
            "place": None if self.place is None else [round(part, 3) for part in self.place],
            "network": {
                "connected": self.status.connected,
                "since": self.status.since,
                "text": {"fr": self.status.network.fr, "en": self.status.network.en},
            },
            "backlog": self.status.backlog,
            "serving_period": self.status.serving_period,
            "serving_until": self.status.serving_until,
            "school": self.status.school,
            "clock_trust": self.status.clock_trust,
            "tampered": self.status.tampered,
            "ill": list(self.status.ill),
        }
