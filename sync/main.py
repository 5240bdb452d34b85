"""`canteen-sync --config FILE`: the program with the network, for a terminal or a station."""

from __future__ import annotations

import argparse
import logging
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from canteen.clock import SystemClock
from canteen.command_line import console_script
from canteen.identifiers import DeviceId
from sync.agent import SyncAgent, TransportFactory
from sync.carried_file import read_carried_down, write_carried_file
from sync.configuration import ConfigurationRefused, SyncConfiguration, load_configuration
from sync.downlink import Downlink
from sync.errors import SyncError
from sync.mqtt_transport import BrokerSettings, MqttTransport
from sync.order_box import OrderBox
from sync.pass_journal import JournalReader
from sync.renewal import Renewal
from sync.stick import Stick, lines_up
from sync.tls_files import TlsFiles
from sync.transport import MessageHandler, StateHandler, Transport

_MEASURED_S = 3.0
_STICK_ENDS_S = 3.0
"""A stick is safe at any moment: what is half written has no name yet."""


@console_script
def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; 2 means that the configuration needs a look."""
    parser = argparse.ArgumentParser(prog="canteen-sync", description="Moves meal passes up and orders down.")
    parser.add_argument("command", nargs="?", choices=("run", "status", "export", "import"), default="run")
    parser.add_argument("file", nargs="?", type=Path, help="export and import: the file on the stick")
    parser.add_argument("--config", type=Path, required=True, help="TOML file")
    arguments = parser.parse_args(argv)
    if (arguments.command in {"run", "status"}) == (arguments.file is not None):
        parser.error("export and import take a file, run and status take none")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        configuration = load_configuration(arguments.config)
        journal, box = JournalReader(configuration.journal), OrderBox(configuration.orders)
        if arguments.command == "export":
            return _export(configuration, journal, arguments.file)
        if arguments.command == "import":
            return _import(configuration, journal, box, arguments.file)
        if arguments.command == "status":
            return _status(journal, box)
        made: list[MqttTransport] = []

        def reload() -> None:
            for transport in made:
                transport.reload()

        renewal = _renewal(configuration, reload)
        device, lane = configuration.device, configuration.lane_broker
        agent = SyncAgent(
            journal,
            box,
            device,
            configuration.server,
            _over_mqtt(configuration.broker, device, made),
            SystemClock(),
            None if lane is None else _over_mqtt(lane, device, made),
            renewal,
        )
    except (SyncError, OSError, ssl.SSLError) as error:
        print(f"canteen-sync: {error}", file=sys.stderr)  # noqa: T201 - for the person who starts it
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stick = _stick(configuration, journal, box, renewal)
    looking = threading.Thread(target=stick.run, args=(stop,), name="stick", daemon=True)
    looking.start()
    agent.run(stop)
    looking.join(_STICK_ENDS_S)
    journal.close()
    box.close()
    return 0


def _status(journal: JournalReader, box: OrderBox) -> int:
    """How far the journal is in the ledger, and how long the rest will take; the agent may be running beside us."""
    link, last, mark = box.link, journal.last_sequence, journal.acknowledged_up_to
    since = "" if link.since is None else f" since {link.since:%Y-%m-%d %H:%M:%S} UTC"
    heard = "never" if link.last_contact is None else f"{link.last_contact:%Y-%m-%d %H:%M:%S} UTC"
    print(f"broker: {'connected' if link.connected else 'not connected'}{since}; last word of the server: {heard}")  # noqa: T201
    print(f"journal: {mark} of {last} entries are in the ledger, {last - mark} are still to come")  # noqa: T201
    if last > mark:
        time.sleep(_MEASURED_S)
        taken = journal.acknowledged_up_to - mark
        left = (
            "nothing moves just now"
            if taken <= 0
            else f"about {(last - mark - taken) * _MEASURED_S / taken:.0f} s left"
        )
        print(f"pace: {max(0, taken) / _MEASURED_S:.0f} entries a second, {left}")  # noqa: T201
    return 0


def _export(configuration: SyncConfiguration, journal: JournalReader, path: Path) -> int:
    """Put what the ledger has not acknowledged into a file for the server."""
    if configuration.server_seal is None:
        raise ConfigurationRefused("trust.server_sealing_key is needed to seal a file for the server")
    backlog = journal.backlog
    renewal = _renewal(configuration, lambda: None)
    lines = write_carried_file(path, lines_up(journal, configuration.device, configuration.server_seal, renewal))
    print(f"{path}: {backlog} entries in {lines} lines. Bring it to the server, and bring its answer back.")  # noqa: T201
    return 0


def _import(configuration: SyncConfiguration, journal: JournalReader, box: OrderBox, path: Path) -> int:
    """Take the server's orders and acknowledgements out of a file; 1 if some lines were refused."""
    downlink = _downlink(configuration, journal, box, _renewal(configuration, lambda: None))
    with path.open("rb") as file:
        count = downlink.handle_carried(read_carried_down(file, configuration.device))
    print(f"{path}: {count.taken} messages taken, {count.refused} lines refused.")  # noqa: T201
    return 1 if count.refused else 0


def _stick(configuration: SyncConfiguration, journal: JournalReader, box: OrderBox, renewal: Renewal) -> Stick:
    downlink = _downlink(configuration, journal, box, renewal)
    device, server = configuration.device, configuration.server_seal
    return Stick(configuration.sticks, journal, box, downlink, device, server, renewal, SystemClock())


def _downlink(configuration: SyncConfiguration, journal: JournalReader, box: OrderBox, renewal: Renewal) -> Downlink:
    """For what comes in a file; the line has its own."""
    return Downlink(journal, box, configuration.device, configuration.server, SystemClock(), renewal)


def _renewal(configuration: SyncConfiguration, reload: Callable[[], None]) -> Renewal:
    """Keeps the certificate; first finishes what a power cut left of the last renewal."""
    broker = configuration.broker
    files = TlsFiles(broker.ca, broker.certificate, broker.key)
    files.finish()
    return Renewal(files, configuration.device, configuration.server, SystemClock(), reload)


def _over_mqtt(broker: BrokerSettings, device: DeviceId, made: list[MqttTransport]) -> TransportFactory:
    def make(on_message: MessageHandler, on_connected: StateHandler, on_lost: StateHandler) -> Transport:
        made.append(MqttTransport(broker, device, on_message, on_connected, on_lost))
        return made[-1]

    return make


if __name__ == "__main__":
    sys.exit(main())
