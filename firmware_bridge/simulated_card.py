"""The card's twin: a DESFire chip on vsmartcard's virtual reader, under a real PC/SC daemon.

`python -m firmware_bridge.simulated_card --secret-file FILE --uai 0311234A --state encoded` runs it as a program of its
own, in the network namespace of the virtual reader (`docs/cards.md`); lines on its standard input move the card:
`insert`, `remove`, `tear N before|during|after`, `quit`. It answers each with a line.
"""

from __future__ import annotations

import argparse
import enum
import os
import selectors
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from canteen.command_line import session_language
from canteen.private_file import PrivateFileRefused, read_private_file
from firmware_bridge.card_encoding import CardEncoded, CardEncoder
from firmware_bridge.card_keys import MASTER_SECRET_BYTES, EncodingKeys, new_master_secret
from firmware_bridge.card_layout import CardLayout
from firmware_bridge.card_reading import SchoolCards
from firmware_bridge.desfire import CardChannel
from firmware_bridge.desfire_commands import Generation
from firmware_bridge.errors import (
    CardError,
    CardLost,
    CardMisused,
    FirmwareBridgeError,
    ReaderUnavailable,
    SimulatedDeviceInProduction,
)
from firmware_bridge.phrases import translator
from firmware_bridge.simulated_chip_memory import TearPhase
from firmware_bridge.simulated_desfire import SimulatedDesfire
from firmware_bridge.vpcd_link import VPCD_PORT, Chip, VpcdLink

DEFAULT_UID = bytes.fromhex("04112233445566")
_OTHER_UID = bytes.fromhex("04665544332211")
_OTHER_SCHOOL = "0750001A"


class CardState(enum.StrEnum):
    """What a simulated card has been through before it is presented."""

    FACTORY = "factory"
    ENCODED = "encoded"
    HALF_WRITTEN = "half-written"
    WRONG_KEY = "wrong-key"
    OTHER_SCHOOL = "other-school"
    COPIED_UID = "copied-uid"
    REPLAYED = "replayed"


class CardInField:
    """A chip held to a reader, without the reader: the way to it until it is torn away."""

    def __init__(self, chip: Chip) -> None:
        chip.power_up()
        self._chip: Chip | None = chip
        self.commands = 0

    def transmit(self, apdu: bytes) -> bytes:
        """Send one command and wait for its answer."""
        if self._chip is None:
            raise CardLost("taken away")
        self.commands += 1
        answer = self._chip.apdu(apdu)
        if answer is None:
            self._chip = None
            raise CardLost("taken away")
        return answer


class ReplayingChip:
    """An emulator that overheard one reading of a genuine card and says its answers again."""

    def __init__(self, genuine: Chip, keys: EncodingKeys, layout: CardLayout) -> None:
        self._answers: list[bytes] = []
        self._next = 0
        SchoolCards(keys.reading, layout).read(_Overheard(CardInField(genuine), self._answers))

    def power_up(self) -> None:
        """The card enters the field, or is reset."""
        self._next = 0

    def apdu(self, _command: bytes) -> bytes:
        """The next answer that was overheard, whatever is asked."""
        answer = self._answers[min(self._next, len(self._answers) - 1)]
        self._next += 1
        return answer


class _Overheard:
    def __init__(self, channel: CardChannel, answers: list[bytes]) -> None:
        self._channel = channel
        self._answers = answers

    def transmit(self, apdu: bytes) -> bytes:
        """Pass on, and keep the answer."""
        answer = self._channel.transmit(apdu)
        self._answers.append(answer)
        return answer


def simulated_card(
    state: CardState,
    keys: EncodingKeys,
    layout: CardLayout,
    uid: bytes = DEFAULT_UID,
    generation: Generation = Generation.EV1,
) -> SimulatedDesfire | ReplayingChip:
    """A card in a given state.

    Raises:
        CardMisused: it could not be brought there.
    """
    chip = SimulatedDesfire(uid, generation)
    if state is CardState.FACTORY:
        return chip
    if state is CardState.WRONG_KEY:
        keys = EncodingKeys.from_master_secret(new_master_secret())
    if state is CardState.OTHER_SCHOOL:
        layout = CardLayout(_OTHER_SCHOOL, layout.aid)
    encoder = CardEncoder(keys, layout)
    if not isinstance(encoder.personalise(CardInField(chip)), CardEncoded):
        raise CardMisused(f"the simulated card cannot be made {state.value}")
    if state is CardState.HALF_WRITTEN:
        _interrupt_writing(chip, encoder)
    elif state is CardState.COPIED_UID:
        chip.radio_uid = _OTHER_UID
    elif state is CardState.REPLAYED:
        return ReplayingChip(chip, keys, layout)
    return chip


def _interrupt_writing(chip: SimulatedDesfire, encoder: CardEncoder) -> None:
    """Write a new number and take the card away before its last byte."""
    whole = CardInField(chip)
    encoder.reuse(whole)
    checks = CardInField(chip)
    encoder.verify(checks)
    last_write = whole.commands - checks.commands - 1
    chip.tear(last_write, TearPhase.BEFORE)
    encoder.reuse(CardInField(chip))


class _Program:
    """The card on the reader, moved by lines on standard input."""

    def __init__(self, chip: SimulatedDesfire | ReplayingChip, port: int) -> None:
        self._chip = chip
        self._link = VpcdLink(chip, port=port)
        self._ended = False

    def run(self) -> None:
        """Until `quit`, or the end of standard input."""
        partial = b""
        self._say(self._obey("insert"))
        while not self._ended:
            with selectors.DefaultSelector() as selector:
                selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
                if self._link.in_field:
                    selector.register(self._link.fileno(), selectors.EVENT_READ)
                ready = {key.fd for key, _ in selector.select()}
            if self._link.fileno() in ready:
                self._link.serve()
                if not self._link.in_field:
                    self._say("gone")
            if sys.stdin.fileno() in ready:
                chunk = os.read(sys.stdin.fileno(), 4096)
                self._ended = self._ended or not chunk
                *lines, partial = (partial + chunk).split(b"\n")
                for line in lines:
                    self._say(self._obey(line.decode("ascii", "replace")))
        self._link.remove()

    def _obey(self, line: str) -> str:
        match line.split():
            case ["insert"]:
                try:
                    self._link.insert()
                except ReaderUnavailable:
                    return "no reader"
                return "ok"
            case ["remove"]:
                self._link.remove()
                return "ok"
            case ["tear", count, phase] if (
                count.isdecimal() and phase in list(TearPhase) and isinstance(self._chip, SimulatedDesfire)
            ):
                self._chip.tear(int(count), TearPhase(phase))
                return "ok"
            case ["quit"]:
                self._ended = True
                return "ok"
            case _:
                return "unknown"

    def _say(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; ends at `quit`, SIGTERM or the end of its standard input."""
    tr = translator(session_language())
    parser = argparse.ArgumentParser(description=tr("Carte de cantine simulée : DESFire sur le lecteur virtuel vpcd."))
    parser.add_argument("--secret-file", type=Path, required=True, help=tr("secret des cartes, 32 octets, en 0600"))
    parser.add_argument("--uai", required=True, help=tr("numéro UAI de l’établissement"))
    parser.add_argument("--state", choices=list(CardState), default=CardState.ENCODED, help=tr("état de la carte"))
    parser.add_argument(
        "--generation",
        choices=[Generation.EV1, Generation.EV2, Generation.EV3],
        default=Generation.EV1,
        help=tr("génération de la puce"),
    )
    parser.add_argument("--uid", type=bytes.fromhex, default=DEFAULT_UID, help=tr("numéro de puce, 7 octets"))
    parser.add_argument("--port", type=int, default=VPCD_PORT, help=tr("port TCP du lecteur virtuel"))
    parser.add_argument("--production", action="store_true", help=tr("toujours refusé : ceci est une simulation"))
    options = parser.parse_args(arguments)
    try:
        if options.production:
            raise SimulatedDeviceInProduction("simulated card")
        keys = EncodingKeys.from_master_secret(read_private_file(options.secret_file, MASTER_SECRET_BYTES))
        state, generation = CardState(options.state), Generation(options.generation)
        chip = simulated_card(state, keys, CardLayout(options.uai), options.uid, generation)
    except SimulatedDeviceInProduction:
        sys.stderr.write(tr("Une carte de cantine simulée ne sert jamais en production.") + "\n")
        return 2
    except (FirmwareBridgeError, CardError, PrivateFileRefused, OSError) as error:
        sys.stderr.write(tr("La carte de cantine simulée ne peut pas démarrer : {why}").format(why=error) + "\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _Program(chip, options.port).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
