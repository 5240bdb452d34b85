"""From the journal to the durable ledger and out by cursor: each beside a floor of the same run.

Ingest is measured in this process over PostgreSQL beside one bare COPY of the same rows; the drain and the live
passes go through a real Mosquitto to `canteen-billing` as a process of its own; the pull reads pages at random places
of a ledger that grows a hundredfold.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from psycopg import Connection
from sqlalchemy import Engine, func, select

from benchmarks.child import Child
from benchmarks.errors import BenchmarkFailed
from benchmarks.figures import Better, Figure, Report, median
from benchmarks.language import _
from benchmarks.pull_benchmark import Progress, pull_benchmark
from benchmarks.sync_devices import (
    WITHIN_S,
    AcknowledgementsHeard,
    BenchDevice,
    RunningAgent,
    connected_client,
    publish_alone,
)
from benchmarks.sync_world import World, private_broker, private_postgres
from billing_server.assembly import Services, assemble
from billing_server.configuration import KeyFiles, Policy, Settings
from billing_server.line import settle_process
from billing_server.models import Device, Journal, MealPassRow
from billing_server.roster import Identity, NewPupil
from canteen.clock import ClockTrust, SystemClock
from canteen.identifiers import DeviceId
from sync.facts import CardIssued
from sync.messages import topic_up


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How much is measured."""

    passes: int = 12_000
    """A backlog: twenty days of 600. A third of that is three transactions, with nothing to read beside the last."""
    rounds: int = 5
    live: int = 40
    cards: int = 20
    devices: int = 4
    """Of the workers' share, each with a quarter of the passes."""
    pulls: int = 60
    largest: int = 1_000_000


def run_sync_benchmark(settings: SyncSettings, progress: Progress) -> Report:
    """All of it. Raises BenchmarkFailed."""
    with TemporaryDirectory(prefix="canteen-bench-") as name, private_postgres() as url:
        folder = Path(name)
        bench = _Ledger(folder, url)
        try:
            figures = [bench.ingest(settings, progress)]
            with private_broker(folder / "broker") as world:
                figures += bench.over_the_broker(settings, world, progress)
                figures.append(bench.workers(settings, world, progress))
            figures.append(pull_benchmark(bench.services.database, url, settings.largest, settings.pulls, progress))
        finally:
            bench.services.database.close()
    remarks = (
        _("Une entrée du registre est un fait ; un passage en a deux, l'accord et la suite."),
        _("PostgreSQL avec fsync, Mosquitto avec TLS mutuel et persistance, signatures vérifiées."),
    )
    return Report(_("Du journal au registre"), tuple(figures), remarks)


class _Ledger:
    """The server's services over the private PostgreSQL."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url
        names = ("signing", "sealing", "code", "operators.json", "clients.json")
        keys = KeyFiles(*(folder / name for name in names))
        self.settings = Settings("Banc", "fr", url, keys, None, "127.0.0.1", 0, Policy())
        self.services: Services = assemble(self.settings)
        self.services.database.upgrade()

    @property
    def _engine(self) -> Engine:
        return self.services.database.engine

    def ingest(self, settings: SyncSettings, progress: Progress) -> Figure:
        """Entries a second into the ledger, over rows a second by one COPY into the same table."""
        what = _("réception")
        ratios, rates, floors, costs = [], [], [], []
        heard = AcknowledgementsHeard()
        settle_process()  # as the server does
        self.services.line.start(heard.make)
        for turn in range(settings.rounds):
            progress(what, turn, settings.rounds)
            device = BenchDevice(self._folder, f"terminal-{turn}", self.services)
            device.record(settings.passes)
            payloads = device.payloads()
            topic = topic_up(device.name, "journal")
            entries = 2 * settings.passes
            started_s, started_cpu_s = time.perf_counter(), time.process_time()
            for payload in payloads:
                self.services.line.handle(topic, payload)
            heard.wait_for(device.name, entries)
            took_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
            floor_s = self._copy_again(device.name)
            rates.append(entries / took_s)
            floors.append(entries / floor_s)
            ratios.append(floor_s / took_s)
            costs.append(1e6 * cpu_s / entries)
        progress(what, settings.rounds, settings.rounds)
        self.services.line.stop()
        detail = _("{rate:.0f} entrées/s, COPY seul {floor:.0f} lignes/s ; {cost:.0f} µs de processeur par entrée ici")
        return Figure(
            "sync.ingest",
            _("réception / COPY"),
            median(ratios),
            "ratio",
            0.4,
            Better.HIGHER,
            detail.format(rate=median(rates), floor=median(floors), cost=median(costs)),
        )

    def _copy_again(self, device: str) -> float:
        """Take the device's rows out and COPY them in again, as text that is ready; seconds of the COPY and commit.

        Emptied places are cleared first: in an index, a row that is gone makes the next one of its key slow.
        """
        with self._engine.connect() as connection:
            driver: Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
            with driver.cursor() as cursor:
                with cursor.copy("COPY (SELECT * FROM entries WHERE device = %s) TO STDOUT", (device,)) as out:
                    rows = b"".join(map(bytes, out))
                cursor.execute("DELETE FROM entries WHERE device = %s", (device,))
                driver.commit()
                driver.autocommit = True
                cursor.execute("VACUUM entries")
                driver.autocommit = False
                started_s = time.perf_counter()
                with cursor.copy("COPY entries FROM STDIN") as copy:
                    copy.write(rows)
                driver.commit()
                return time.perf_counter() - started_s

    def over_the_broker(self, settings: SyncSettings, world: World, progress: Progress) -> list[Figure]:
        """The drain of a backlog, in turns with its floor, and the live passes, with the server as a process."""
        what, entries = _("arriéré"), 2 * settings.passes * settings.rounds
        rates, waited, pipelined = [], [], []
        child = Child("billing_server.main", ["--config", str(self._configuration(world))], self._log("server"))
        agent: RunningAgent | None = None
        try:
            self._wait(lambda: self._connected(child, "server") and self._serves("server"), child)
            for turn in range(settings.rounds):
                if agent is not None:
                    agent.stop()
                device = BenchDevice(self._folder, f"terminal-live-{turn}", self.services)
                device.record(settings.passes)
                one_by_one, at_once = publish_alone(world, device.payloads_a_pass())
                waited.append(one_by_one)
                pipelined.append(at_once)
                agent = RunningAgent(device, world, self.services)
                started_s = time.perf_counter()
                agent.start()
                while device.journal.backlog:
                    progress(what, turn * 2 * settings.passes + device.journal.acknowledged_up_to, entries)
                    self._check(child, started_s)
                    time.sleep(0.01)
                rates.append(settings.passes / (time.perf_counter() - started_s))
            progress(what, entries, entries)
            delays_ms = [self._live(device, number, settings.live, child, progress) for number in range(settings.live)]
            blocks_ms = [] if agent is None else self._lost_cards(settings.cards, agent, child, progress)
        finally:
            if agent is not None:
                agent.stop()
            child.stop()
        detail = _("{rate:.0f} passages/s durables ; un message par passage, confirmé un par un {floor:.0f}/s")
        ahead = _("{rate:.0f} passages/s durables ; un message par passage, sans attendre {floor:.0f}/s")
        return [
            Figure(
                "sync.drain",
                _("arriéré / un à un"),
                median([rate / floor for rate, floor in zip(rates, waited, strict=True)]),
                "ratio",
                2.0,
                Better.HIGHER,
                detail.format(rate=median(rates), floor=median(waited)),
            ),
            Figure(
                "sync.drain_pipelined",
                _("arriéré / à la file"),
                median([rate / floor for rate, floor in zip(rates, pipelined, strict=True)]),
                "ratio",
                2.0,
                Better.HIGHER,
                ahead.format(rate=median(rates), floor=median(pipelined)),
            ),
            Figure(
                "sync.live_ms",
                _("de l'accord au registre"),
                median(delays_ms),
                "ms",
                300.0,
                detail=_("médiane de {n}, la plus longue {most:.0f} ms").format(n=len(delays_ms), most=max(delays_ms)),
            ),
            Figure(
                "sync.lost_card_ms",
                _("carte perdue, du clic à la borne"),
                max(blocks_ms),
                "ms",
                2000.0,
                detail=_("la plus longue de {n}, médiane {middle:.0f} ms").format(
                    n=len(blocks_ms), middle=median(blocks_ms)
                ),
            ),
        ]

    def _live(self, device: BenchDevice, number: int, of: int, child: Child, progress: Progress) -> float:
        grant = device.grant()
        device.journal.append(grant, SystemClock().utc_now(), ClockTrust.TRUSTED)
        started_s = time.perf_counter()
        query = select(MealPassRow.pass_id).where(
            MealPassRow.device == device.name, MealPassRow.pass_id == grant.pass_id
        )
        while True:
            with self.services.database.reading() as session:
                if session.scalars(query).first() is not None:
                    break
            self._check(child, started_s)
            time.sleep(0.002)
        progress(_("en direct"), number + 1, of)
        time.sleep(0.02 * random.random())  # noqa: S311 - not in step with the agent's own pace
        return (time.perf_counter() - started_s) * 1000

    def _lost_cards(self, cards: int, agent: RunningAgent, child: Child, progress: Progress) -> list[float]:
        """From the button on the server's page until the order is durable at the terminal, card by card."""
        station = DeviceId("station-bench")
        token = self.services.operators.add("Banc")
        with self.services.database.writing() as session:
            new = [NewPupil(Identity("Carte", f"{number}", "6A"), ()) for number in range(cards)]
            for number, (pupil, _code) in enumerate(self.services.pupils.add(session, new)):
                context = {"v": 1, "what": "card", "station": station, "pupil": pupil}
                sealed = self.services.opening_key.sealing_key.seal(f"04{number:012X}".encode(), context)
                self.services.cards.take_issued(session, station, CardIssued(pupil, sealed))
            session.flush()
            told = session.get_one(Device, agent.device).last_order
        took_ms = []
        for number in range(cards):
            self._wait(lambda: agent.box.received_up_to >= told + number, child)  # noqa: B023 - called at once
            started_s = time.perf_counter()
            self._post(f"/cartes/{number + 1}/bloquer", token, "server")
            while agent.box.received_up_to <= told + number:
                self._check(child, started_s)
                time.sleep(0.002)
            took_ms.append((time.perf_counter() - started_s) * 1000)
            progress(_("carte perdue"), number + 1, cards)
        return took_ms

    def workers(self, settings: SyncSettings, world: World, progress: Progress) -> Figure:
        """Entries a second from several devices into the ledger: a server and a worker, over the server alone."""
        what = _("deux processus")
        rates = []
        for run, count in enumerate((1, 2)):
            progress(what, run, 2)
            devices = [
                BenchDevice(self._folder, f"terminal-w{run}-{n}", self.services) for n in range(settings.devices)
            ]
            for device in devices:
                device.record(settings.passes // settings.devices)
            configuration = str(self._configuration(world, workers=True))
            commands = [["--config", configuration], ["--config", configuration, "ingest"]][:count]
            names = [f"server-{run}-{place}" for place in range(count)]
            children = [
                Child("billing_server.main", command, self._log(name))
                for command, name in zip(commands, names, strict=True)
            ]
            try:
                for child, name in zip(children, names, strict=True):
                    self._wait(lambda child=child, name=name: self._connected(child, name), child)  # type: ignore[misc]  # mypy: lambda defaults
                rates.append(self._shared_drain(world, devices, children[0]))
            finally:
                for child in children:
                    child.stop()
        progress(what, 2, 2)
        detail = _("{n} bornes : {one:.0f} entrées/s avec un processus, {two:.0f} avec deux")
        return Figure(
            "sync.workers",
            _("deux processus / un"),
            rates[1] / rates[0],
            "ratio",
            1.0,
            Better.HIGHER,
            detail.format(n=settings.devices, one=rates[0], two=rates[1]),
        )

    def _shared_drain(self, world: World, devices: list[BenchDevice], child: Child) -> float:
        """Entries a second, all devices publishing at once by paho alone."""
        clients = [connected_client(world, device.name) for device in devices]
        messages = [device.payloads() for device in devices]
        expected = sum(device.journal.last_sequence for device in devices)
        names = [device.name for device in devices]
        started_s = time.perf_counter()
        for batches in zip_longest(*messages):
            for client, device, payload in zip(clients, devices, batches, strict=True):
                if payload is not None:
                    client.publish(topic_up(device.name, "journal"), payload, qos=1)
        query = select(func.sum(Journal.up_to)).where(Journal.device.in_(names))
        while True:
            with self.services.database.reading() as session:
                if session.scalar(query) == expected:
                    break
            self._check(child, started_s)
            time.sleep(0.005)
        took_s = time.perf_counter() - started_s
        for client in clients:
            client.disconnect()
            client.loop_stop()
        return expected / took_s

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _configuration(self, world: World, *, workers: bool = False) -> Path:
        ours = world.settings("billing")
        path = self._folder / "billing.toml"
        path.write_text(
            f'school_name = "Banc"\n[database]\nurl = "{self._url}"\n[web]\nport = 0\n'
            '[keys]\nsigning_key = "signing"\nsealing_key = "sealing"\ncode_key = "code"\n'
            'operators = "operators.json"\n'
            f'[broker]\nhost = "{ours.host}"\nport = {ours.port}\nca = "{ours.ca}"\n'
            f'certificate = "{ours.certificate}"\nkey = "{ours.key}"\nworkers = {str(workers).lower()}\n',
            encoding="utf-8",
        )
        return path

    def _connected(self, child: Child, name: str) -> bool:
        child.check_running()
        log = self._log(name).read_text(encoding="utf-8", errors="replace")
        return "connected to the broker" in log

    def _address(self, name: str) -> str | None:
        ready = re.search(r"ready on http://([^/]+)/", self._log(name).read_text(encoding="utf-8", errors="replace"))
        return None if ready is None else ready[1]

    def _post(self, path: str, token: str, name: str) -> None:
        connection = HTTPConnection(self._address(name) or "", timeout=WITHIN_S)
        try:
            connection.request("POST", path, headers={"Authorization": f"Bearer {token}"})
            if connection.getresponse().status >= 400:
                raise BenchmarkFailed(_("le serveur a refusé de bloquer une carte"))
        finally:
            connection.close()

    def _serves(self, name: str) -> bool:
        """Whether its pages answer: until then it is loading, which is no part of a drain."""
        address = self._address(name)
        if address is None:
            return False
        connection = HTTPConnection(address, timeout=1.0)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def _wait(self, true: Callable[[], bool], child: Child) -> None:
        started_s = time.perf_counter()
        while not true():
            self._check(child, started_s)
            time.sleep(0.02)

    @staticmethod
    def _check(child: Child, started_s: float) -> None:
        child.check_running()
        if time.perf_counter() - started_s > WITHIN_S:
            raise BenchmarkFailed(_("un programme n'est pas prêt à temps"))
