"""The whole program, a real PC/SC daemon and a simulated DESFire card: from the card on the reader to the open gate."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.access_decision import MissingEntitlement, Reason
from canteen.credentials import CardNumber
from canteen.meal_pass import PassCompleted, PassDenied, PassGranted, PassMethod
from canteen.private_file import create_private_file
from firmware_bridge.card_keys import EncodingKeys, ReadingKeys
from firmware_bridge.card_layout import CardLayout
from firmware_bridge.card_reading import SchoolCards
from firmware_bridge.pcsc_service import card_on_reader
from sync.facts import OrderApplied
from sync.orders import CalendarOrder, CardAssigned, LeaseOrder, Roster, RosterPupil
from tests.conftest import wait_until
from tests.unit.terminal.lane import code, pupil_id
from tests.unit.terminal.programs import ALWAYS_OPEN, THIS_YEAR, TerminalProgram, surrounded
from tests.unit.terminal.test_program import doctor
from tests.virtual_reader import UAI, virtual_reader

pytestmark = pytest.mark.slow

DAEMON_LOOKS_S = 0.5
"""The daemon looks at the virtual reader every 0.4 s; a true one tells at once."""
CARD_TO_GATE_S = 1.0


def number_of_the_card_there(keys: ReadingKeys) -> CardNumber:
    """As the school's station would read it."""
    with card_on_reader(None, 5.0) as channel:
        number = SchoolCards(keys, CardLayout(UAI)).read(channel)
    assert isinstance(number, CardNumber)
    return number


def equip(program: TerminalProgram, keys: ReadingKeys, number: CardNumber) -> None:
    """A terminal that reads this school's cards at a reader of its own, and knows whose this one is."""
    create_private_file(program.folder / "card-reading.key", keys.to_bytes())
    with program.config.open("a", encoding="utf-8") as file:
        file.write(f'[card_reader]\nkind = "pcsc"\nuai = "{UAI}"\nreading_key = "card-reading.key"\n')
    program.order(
        CalendarOrder("Collège Test", ALWAYS_OPEN, MissingEntitlement.SERVE_AND_BILL),
        Roster((RosterPupil(pupil_id(1), "Prénom1", "", "6A", code(1), (THIS_YEAR,)),), whole=True),
        CardAssigned(pupil_id(1), number),
        LeaseOrder(datetime.now(UTC) + timedelta(days=7)),
    )


def test_card_on_the_reader_opens_the_gate(tmp_path: Path) -> None:
    """Read under AES, granted, journalled, opened within a second; a forged one is refused; a frozen daemon is told."""
    (tmp_path / "pcsc").mkdir()
    with virtual_reader(tmp_path / "pcsc") as reader, surrounded(tmp_path / "terminal") as (program, _):
        keys = EncodingKeys.from_master_secret(reader.master_secret).reading
        card = reader.card()
        number = number_of_the_card_there(keys)
        card.remove()
        time.sleep(DAEMON_LOOKS_S)
        equip(program, keys, number)
        program.start()
        wait_until(lambda: OrderApplied(4) in program.facts(), what="the orders")
        wait_until(lambda: "carte" in program.shown()["prompt"]["fr"], what="the reader")

        began_s = time.monotonic()
        card.insert()
        shown = program.wait_for("passage-open")
        assert time.monotonic() - began_s < CARD_TO_GATE_S + DAEMON_LOOKS_S
        assert ("Prénom1", True) == (shown["first_name"], shown["took_ms"] < 1000 * CARD_TO_GATE_S)
        assert program.world.push()
        program.wait_for("idle")
        card.remove()
        time.sleep(DAEMON_LOOKS_S)

        forged = reader.card("wrong-key")
        shown = program.wait_for("showing-denial")
        assert "card:wrong_key" == shown["staff_note"]
        forged.remove()
        passes = [f for f in program.facts() if isinstance(f, PassGranted | PassCompleted | PassDenied)]
        assert [PassGranted, PassCompleted, PassDenied] == [type(fact) for fact in passes]
        assert [(PassMethod.CARD, Reason.UNKNOWN_CARD)] == [
            (f.method, f.reason) for f in passes if isinstance(f, PassDenied)
        ]
        assert "Lecteur de cartes" in doctor(program).stdout

        program.wait_for("idle")
        reader.freeze_daemon()
        wait_until(lambda: "card-reader" in program.shown()["ill"], 4, "the frozen daemon to be told")
        assert 2 == doctor(program).returncode
        reader.thaw_daemon()
        wait_until(lambda: "card-reader" not in program.shown()["ill"] or doctor(program).returncode == 0, 10, "thaw")
        assert number.hexadecimal not in program.log
        assert 0 == program.end()
