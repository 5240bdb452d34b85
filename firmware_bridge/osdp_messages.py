"""Between OSDP's dictionaries and the domain's words: pure functions, and the numbers of our board's wiring."""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from osdp import (
    CardFormat,
    Command,
    CommandLEDColor,
    Event,
    StatusReportType,
)

from canteen.credentials import CardNumber
from canteen.errors import InvalidCardNumber
from firmware_bridge.devices import (
    UNLOCK_TIMEOUT_MAX_S,
    UNLOCK_TIMEOUT_MIN_S,
    CancelPressed,
    CardPresented,
    CorrectionPressed,
    DigitPressed,
    EnterPressed,
    KeypadEvent,
    Signal,
)
from firmware_bridge.errors import BoardMisused

OsdpMessage = dict[str, int | str | bytes | bool]

TURNSTILE_OUTPUT = 0
TRAY_OUTPUT = 1
OUTPUTS = 2
PASSAGE_INPUT = 0
REFUSED_ROTATION_INPUT = 1
EMERGENCY_INPUT = 2
TRAY_JAM_INPUT = 4
TRAY_EMPTY_INPUT = 5
INPUTS = 6
"""Input 3 is spare. A board with fewer inputs reports fewer; what it has not is never reported."""
TRAY_PULSE_TENTHS = 5
"""Long enough for a relay and a motor's cam, short enough that no second tray follows."""
TEXT_LENGTH = 32
"""libosdp's longest text command."""

OUTPUT_OFF = 1
"""Output control code: off for good, timed operation ended (lock)."""
OUTPUT_ON_FOR = 5
"""Output control code: on for a time, then back (unlock): the board locks by itself even if we die."""

_CORRECTION = frozenset(b"*\x7f")
_ENTER = frozenset(b"#\r")
_CANCEL = 0x1B


class Refusal(enum.Enum):
    """Why something the board reported is not passed on. Logged by this name, never with the value."""

    KEY_UNKNOWN = "key_unknown"
    CARD_LENGTH = "card_length"
    CARD_FORMAT = "card_format"
    EVENT_UNKNOWN = "event_unknown"


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What the board says of its contacts: only the parts that its message carried are set."""

    passage_latched: bool | None = None
    rotation_refused: bool | None = None
    emergency: bool | None = None
    tray_jammed: bool | None = None
    tray_empty: bool | None = None
    unlocked: bool | None = None
    tampered: bool | None = None


Reported = KeypadEvent | CardPresented | StatusReport | Refusal


def reported(untrusted_event: Mapping[str, object]) -> list[Reported]:
    """What one OSDP event says, in order; never raises, whatever the board sends."""
    match untrusted_event.get("event"):
        case Event.KeyPress:
            untrusted_keys = untrusted_event.get("data")
            return [_key(key) for key in untrusted_keys] if isinstance(untrusted_keys, bytes) else [Refusal.KEY_UNKNOWN]
        case Event.CardRead:
            return [_card(untrusted_event)]
        case Event.Status:
            return [_status(untrusted_event)]
        case _:
            return [Refusal.EVENT_UNKNOWN]


def _key(key: int) -> Reported:
    """A key by its OSDP code: ASCII digits, DELETE for '*', RETURN for '#'; some keypads send the characters."""
    if 0x30 <= key <= 0x39:
        return DigitPressed(chr(key))
    if key in _CORRECTION:
        return CorrectionPressed()
    if key in _ENTER:
        return EnterPressed()
    return CancelPressed() if key == _CANCEL else Refusal.KEY_UNKNOWN


def _card(untrusted_event: Mapping[str, object]) -> CardPresented | Refusal:
    """A card number of whole bytes; Wiegand words with parity bits are no serial number."""
    number = untrusted_event.get("data")
    length_bits = untrusted_event.get("length")
    raw = untrusted_event.get("format") in (CardFormat.Unspecified, CardFormat.Wiegand)
    if not raw or not isinstance(number, bytes):
        return Refusal.CARD_FORMAT
    if length_bits != 8 * len(number):
        return Refusal.CARD_LENGTH
    try:
        return CardPresented(CardNumber.from_bytes(number))
    except InvalidCardNumber:
        return Refusal.CARD_LENGTH


def _status(untrusted_event: Mapping[str, object]) -> StatusReport | Refusal:
    """The contacts we know in a status report; other contacts of a larger board are left alone."""
    report = untrusted_event.get("report")
    if not isinstance(report, bytes) or not report:
        return Refusal.EVENT_UNKNOWN
    match untrusted_event.get("type"):
        case StatusReportType.Input:
            return StatusReport(
                passage_latched=_contact(report, PASSAGE_INPUT),
                rotation_refused=_contact(report, REFUSED_ROTATION_INPUT),
                emergency=_contact(report, EMERGENCY_INPUT),
                tray_jammed=_contact(report, TRAY_JAM_INPUT),
                tray_empty=_contact(report, TRAY_EMPTY_INPUT),
            )
        case StatusReportType.Output:
            return StatusReport(unlocked=bool(report[TURNSTILE_OUTPUT]))
        case StatusReportType.Local:
            return StatusReport(tampered=bool(report[0]))
        case _:
            return Refusal.EVENT_UNKNOWN


def _contact(report: bytes, at: int) -> bool | None:
    return bool(report[at]) if at < len(report) else None


def unlock_command(timeout_s: float) -> OsdpMessage:
    """Open the turnstile for a time.

    Raises:
        BoardMisused: a time that OSDP cannot carry.
    """
    if not UNLOCK_TIMEOUT_MIN_S <= timeout_s <= UNLOCK_TIMEOUT_MAX_S:
        raise BoardMisused(f"unlock for {UNLOCK_TIMEOUT_MIN_S} to {UNLOCK_TIMEOUT_MAX_S} s, not {timeout_s}")
    return {
        "command": Command.Output,
        "output_no": TURNSTILE_OUTPUT,
        "control_code": OUTPUT_ON_FOR,
        "timer_count": round(timeout_s * 10),
    }


def lock_command() -> OsdpMessage:
    """Lock the turnstile now."""
    return {"command": Command.Output, "output_no": TURNSTILE_OUTPUT, "control_code": OUTPUT_OFF, "timer_count": 0}


def give_tray_command() -> OsdpMessage:
    """Push out one tray: a short pulse that ends by itself."""
    return {
        "command": Command.Output,
        "output_no": TRAY_OUTPUT,
        "control_code": OUTPUT_ON_FOR,
        "timer_count": TRAY_PULSE_TENTHS,
    }


@dataclass(frozen=True, slots=True)
class Appearance:
    """How a signal looks and sounds: lamp colour, blinking or steady, number of short beeps."""

    colour: int
    blinking: bool
    beeps: int


APPEARANCES = {
    Signal.READY: Appearance(CommandLEDColor.Blue, blinking=False, beeps=0),
    Signal.WAIT: Appearance(CommandLEDColor.Amber, blinking=False, beeps=0),
    Signal.GRANTED: Appearance(CommandLEDColor.Green, blinking=False, beeps=1),
    Signal.DENIED: Appearance(CommandLEDColor.Red, blinking=False, beeps=2),
    # Blinking, so that a fault is told from a denial without colours; silent, because nobody is being answered.
    Signal.FAULT: Appearance(CommandLEDColor.Red, blinking=True, beeps=0),
}


def signal_commands(signal: Signal, text: str) -> list[OsdpMessage]:
    """The lamp, text and buzzer commands of a signal; the lamp first, because it is seen first."""
    appearance = APPEARANCES[signal]
    commands: list[OsdpMessage] = [
        {
            "command": Command.LED,
            "reader": 0,
            "led_number": 0,
            "temporary": False,
            "control_code": 1,
            "on_color": appearance.colour,
            "off_color": CommandLEDColor.Black,
            "on_count": 5,
            "off_count": 5 if appearance.blinking else 0,
        },
        {
            "command": Command.Text,
            "reader": 0,
            "control_code": 1,
            "temp_time": 0,
            "offset_row": 1,
            "offset_col": 1,
            "data": display_text(text),
        },
    ]
    if appearance.beeps:
        commands.append(
            {
                "command": Command.Buzzer,
                "reader": 0,
                "control_code": 2,
                "on_count": 1,
                "off_count": 1,
                "rep_count": appearance.beeps,
            }
        )
    return commands


def display_text(text: str) -> str:
    """`text` as an OSDP display takes it: printable ASCII, accents folded, at most 32 characters, never empty."""
    folded = unicodedata.normalize("NFKD", text.replace("’", "'").replace("œ", "oe").replace("Œ", "OE"))
    printable = "".join(character for character in folded if " " <= character <= "~")
    return printable[:TEXT_LENGTH] or " "
