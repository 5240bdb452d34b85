"""Whatever a peripheral reports becomes a domain event or a refusal, never an exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from osdp import CardFormat, Command, Event, StatusReportType

from canteen.credentials import CardNumber
from firmware_bridge.devices import (
    CancelPressed,
    CardPresented,
    CorrectionPressed,
    DigitPressed,
    EnterPressed,
    Signal,
)
from firmware_bridge.errors import BoardMisused
from firmware_bridge.osdp_messages import (
    Refusal,
    StatusReport,
    display_text,
    lock_command,
    reported,
    signal_commands,
    unlock_command,
)

_anything = st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.binary(max_size=80), st.lists)


@given(
    st.dictionaries(st.sampled_from(["event", "data", "length", "format", "type", "report", "reader_no"]), _anything)
)
def test_no_event_raises(untrusted_event: dict[str, object]) -> None:
    """The board's loop must outlive any dictionary."""
    for report in reported(untrusted_event):
        assert isinstance(
            report,
            DigitPressed | CorrectionPressed | EnterPressed | CancelPressed | CardPresented | StatusReport | Refusal,
        )


@given(st.binary(max_size=64), st.integers(0, 600), st.sampled_from([0, 1, 2, 7]))
def test_card_bytes_are_a_card_number_or_refused(number: bytes, length_bits: int, card_format: int) -> None:
    """Exactly 4 to 10 whole bytes in a raw format are a card number."""
    event = {"event": Event.CardRead, "format": card_format, "length": length_bits, "data": number}
    [report] = reported(event)
    valid = (
        card_format in (CardFormat.Unspecified, CardFormat.Wiegand)
        and length_bits == 8 * len(number)
        and 4 <= len(number) <= 10
    )
    assert isinstance(report, CardPresented) == valid
    if valid:
        assert report == CardPresented(CardNumber(number.hex().upper()))


def test_keys_by_their_osdp_codes() -> None:
    """DELETE and RETURN are '*' and '#'; a buffered keypad's digits keep their order; unknown keys are refused."""
    reports = reported({"event": Event.KeyPress, "data": b"12\x7f*\x0d#\x1bA\xff"})
    assert reports == [
        DigitPressed("1"),
        DigitPressed("2"),
        CorrectionPressed(),
        CorrectionPressed(),
        EnterPressed(),
        EnterPressed(),
        CancelPressed(),
        Refusal.KEY_UNKNOWN,
        Refusal.KEY_UNKNOWN,
    ]


def test_status_reports_carry_their_own_contact_only() -> None:
    """An input report says nothing of the lock, an output report nothing of the passage."""
    kinds = {
        StatusReportType.Input: StatusReport(passage_latched=True, rotation_refused=False),
        StatusReportType.Output: StatusReport(unlocked=True),
        StatusReportType.Local: StatusReport(tampered=True),
    }
    for kind, expected in kinds.items():
        assert reported({"event": Event.Status, "type": kind, "report": b"\x01\x00"}) == [expected]
    assert reported({"event": Event.Status, "type": 3, "report": b"\x01"}) == [Refusal.EVENT_UNKNOWN]


def test_a_digit_does_not_show_in_its_representation() -> None:
    """A code must not reach a log by way of an event."""
    assert repr(DigitPressed("7")) == "DigitPressed(…)"


def test_unlock_is_timed_by_the_board_itself() -> None:
    """The gate locks again even if this process dies: tenths of a second, on for a time (code 5)."""
    assert unlock_command(2.5) == {
        "command": Command.Output,
        "output_no": 0,
        "control_code": 5,
        "timer_count": 25,
    }
    assert lock_command()["control_code"] == 1


@pytest.mark.parametrize("timeout_s", [0.0, 0.09, 25.1, 300.0, -1.0, float("nan"), float("inf")])
def test_timeouts_that_osdp_would_cut_are_refused(timeout_s: float) -> None:
    """30 s would arrive as 4.4 s: the binding keeps eight bits."""
    with pytest.raises(BoardMisused):
        unlock_command(timeout_s)


@given(st.text())
def test_display_text_fits_the_display(text: str) -> None:
    """1 to 32 characters of printable ASCII: anything else makes libosdp's binding raise."""
    shown = display_text(text)
    assert 1 <= len(shown) <= 32
    assert all(" " <= character <= "~" for character in shown)


def test_french_text_stays_readable() -> None:
    """Accents are folded, not dropped with their letters."""
    assert display_text("Présente ta main, s’il te plaît") == "Presente ta main, s'il te plait"
    assert display_text("Cœur à l’œuvre") == "Coeur a l'oeuvre"


@pytest.mark.parametrize("signal", list(Signal))
def test_every_signal_has_lamp_then_text(signal: Signal) -> None:
    """The lamp is seen first, so it is sent first."""
    assert [message["command"] for message in signal_commands(signal, "x")][:2] == [Command.LED, Command.Text]
