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
from sync.agent import SyncAgent, TransportFactory
from sync.configuration import SyncConfiguration, load_configuration
from sync.errors import SyncError
from sync.mqtt_transport import MqttTransport
from sync.order_box import OrderBox
from sync.pass_journal import JournalReader
from sync.transport import MessageHandler, StateHandler, Transport


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; 2 means that the configuration needs a look."""
    parser = argparse.ArgumentParser(prog="canteen-sync", description="Moves meal passes up and orders down.")
    parser.add_argument("--config", type=Path, required=True, help="TOML file")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        configuration = load_configuration(arguments.config)
        journal, box = JournalReader(configuration.journal), OrderBox(configuration.orders)
        agent = SyncAgent(
            journal, box, configuration.device, configuration.server, _over_mqtt(configuration), SystemClock()
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


def _over_mqtt(configuration: SyncConfiguration) -> TransportFactory:
    def make(on_message: MessageHandler, on_connected: StateHandler, on_lost: StateHandler) -> Transport:
        return MqttTransport(configuration.broker, configuration.device, on_message, on_connected, on_lost)

    return make


if __name__ == "__main__":
    sys.exit(main())
