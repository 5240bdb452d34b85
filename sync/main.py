"""`canteen-sync --config FILE`: the program with the network, for a terminal or a station."""

from __future__ import annotations

import argparse
import logging
import signal
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from canteen.clock import SystemClock
from canteen.identifiers import DeviceId
from sync.agent import SyncAgent, TransportFactory
from sync.carried_file import journal_lines, read_carried_down, write_carried_file
from sync.configuration import ConfigurationRefused, SyncConfiguration, load_configuration
from sync.downlink import Downlink
from sync.errors import SyncError
from sync.mqtt_transport import BrokerSettings, MqttTransport
from sync.order_box import OrderBox
from sync.pass_journal import JournalReader
from sync.transport import MessageHandler, StateHandler, Transport


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; 2 means that the configuration needs a look."""
    parser = argparse.ArgumentParser(prog="canteen-sync", description="Moves meal passes up and orders down.")
    parser.add_argument("command", nargs="?", choices=("run", "export", "import"), default="run")
    parser.add_argument("file", nargs="?", type=Path, help="export and import: the file on the stick")
    parser.add_argument("--config", type=Path, required=True, help="TOML file")
    arguments = parser.parse_args(argv)
    if (arguments.command == "run") == (arguments.file is not None):
        parser.error("export and import take a file, run takes none")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        configuration = load_configuration(arguments.config)
        journal, box = JournalReader(configuration.journal), OrderBox(configuration.orders)
        if arguments.command == "export":
            return _export(configuration, journal, arguments.file)
        if arguments.command == "import":
            return _import(configuration, journal, box, arguments.file)
        agent = SyncAgent(
            journal,
            box,
            configuration.device,
            configuration.server,
            _over_mqtt(configuration.broker, configuration.device),
            SystemClock(),
            None if configuration.lane_broker is None else _over_mqtt(configuration.lane_broker, configuration.device),
        )
    except (SyncError, OSError, ssl.SSLError) as error:
        print(f"canteen-sync: {error}", file=sys.stderr)  # noqa: T201 - for the person who starts it
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    agent.run(stop)
    journal.close()
    box.close()
    return 0


def _export(configuration: SyncConfiguration, journal: JournalReader, path: Path) -> int:
    """Put what the ledger has not acknowledged into a file for the server."""
    if configuration.server_seal is None:
        raise ConfigurationRefused("trust.server_sealing_key is needed to seal a file for the server")
    backlog = journal.backlog
    lines = write_carried_file(path, journal_lines(journal, configuration.device, configuration.server_seal))
    print(f"{path}: {backlog} entries in {lines} lines. Bring it to the server, and bring its answer back.")  # noqa: T201
    return 0


def _import(configuration: SyncConfiguration, journal: JournalReader, box: OrderBox, path: Path) -> int:
    """Take the server's orders and acknowledgements out of a file; 1 if some lines were refused."""
    downlink = Downlink(journal, box, configuration.device, configuration.server, SystemClock())
    with path.open("rb") as file:
        count = downlink.handle_carried(read_carried_down(file, configuration.device))
    print(f"{path}: {count.taken} messages taken, {count.refused} lines refused.")  # noqa: T201
    return 1 if count.refused else 0


def _over_mqtt(broker: BrokerSettings, device: DeviceId) -> TransportFactory:
    def make(on_message: MessageHandler, on_connected: StateHandler, on_lost: StateHandler) -> Transport:
        return MqttTransport(broker, device, on_message, on_connected, on_lost)

    return make


if __name__ == "__main__":
    sys.exit(main())
