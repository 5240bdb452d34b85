"""The station's process: its page, the orders beside it, and an end that closes its files."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import threading

import uvicorn

from enrollment_station.app import make_app
from enrollment_station.assembly import Station, assemble
from enrollment_station.configuration import StationConfiguration
from enrollment_station.errors import CannotListen
from enrollment_station.language import marked, say

PORT_TAKEN = marked(
    "Le port {port} de {host} est déjà pris : la station tourne-t-elle déjà ? "
    "Arrêtez l’autre programme, ou changez web.port dans la configuration."
)
ADDRESS_REFUSED = marked("L’adresse {host}:{port} ne peut pas être ouverte ({why}) : voyez web.host et web.port.")
LISTENING = marked("Station d’enrôlement : http://{host}:{port}")

_STOP_WITHIN_S = 3
_THREAD_STOPS_WITHIN_S = 5.0


def serve(configuration: StationConfiguration) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        CannotListen: the port is taken, or no address of this machine; in the configuration's language.
        ConfigurationRefused: a file cannot be used.
    """
    try:
        listener = socket.create_server((configuration.host, configuration.port))
    except OSError as error:
        sentence = PORT_TAKEN if error.errno == errno.EADDRINUSE else ADDRESS_REFUSED
        said = say(configuration.language, sentence)
        raise CannotListen(said.format(host=configuration.host, port=configuration.port, why=error.strerror)) from error
    with listener:
        station = assemble(configuration)
        try:
            _run(station, listener)
        finally:
            station.close()


class _Server(uvicorn.Server):
    """Stops waiting for a card before it waits for its answers to be finished."""

    def __init__(self, station: Station, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._station = station

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._station.end_card_work(at_once=False)
        await super().shutdown(sockets)


def _run(station: Station, listener: socket.socket) -> None:
    server = _Server(
        station,
        uvicorn.Config(
            make_app(station),
            log_config=None,
            # Addresses hold pseudonyms, and searches names: who looked at what is in the audit log.
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_STOP_WITHIN_S,
        ),
    )
    stop = threading.Event()
    applier = threading.Thread(target=station.applier.run, args=(stop,), name="orders")
    # uvicorn stops at a signal and then raises it once more, which would end the process before its files are closed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    applier.start()
    host, port = listener.getsockname()[:2]
    logging.getLogger("canteen.station").info(
        say(station.configuration.language, LISTENING).format(host=host, port=port)
    )
    try:
        server.run(sockets=[listener])
    finally:
        stop.set()
        applier.join(_THREAD_STOPS_WITHIN_S)
