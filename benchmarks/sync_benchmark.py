"""From the journal to the durable ledger and out by cursor: each beside a floor of the same run.

Ingest is measured in this process over PostgreSQL beside one bare COPY of the same rows; the drain and the live
passes go through a real Mosquitto to `canteen-billing` as a process of its own; the pull reads pages at random places
of a ledger that grows a hundredfold.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from psycopg import Connection
from sqlalchemy import Engine, func, select, text

from benchmarks.child import Child
from benchmarks.errors import BenchmarkFailed
from benchmarks.figures import Better, Figure, Report, median
from benchmarks.language import _
from benchmarks.sync_world import World, private_broker, private_postgres
from billing_server import reading
from billing_server.assembly import Services, assemble
from billing_server.configuration import KeyFiles, Policy, Settings
from billing_server.database import Database
from billing_server.models import Journal, MealPassRow
from canteen.clock import ClockTrust, SystemClock
from canteen.entitlements import EntitlementKind
from canteen.identifiers import DeviceId, new_pass_id, new_pupil_id
from canteen.meal_pass import PassCompleted, PassGranted, PassMethod
from canteen.serving_periods import ServiceMoment
from sync.agent import SyncAgent
from sync.facts import Fact
from sync.messages import read_acknowledgement, topic_up, write_batch
from sync.mqtt_transport import MqttTransport
from sync.order_box import OrderBox
from sync.orders import DeviceEntry, DeviceRole
from sync.pass_journal import PassJournal
from sync.sealing import OpeningKey
from sync.signing import SigningKey

Progress = Callable[[str, int, int], None]

_BATCH_OCTETS = 256 * 1024
"""A message, as `sync.uplink` sends them once its window is open."""
_SMALL = 10_000
_PAGE = 500
_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How much is measured."""

    passes: int = 4_000
    rounds: int = 3
    live: int = 40
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
            figures.append(bench.pull(settings, progress))
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
        heard = _Heard()
        self.services.line.start(heard.make)
        for turn in range(settings.rounds):
            progress(what, turn, settings.rounds)
            device = _Device(self._folder, f"terminal-{turn}", self.services)
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
        """Take the device's rows out and COPY them in again, as text that is ready; seconds of the COPY and commit."""
        with self._engine.connect() as connection:
            driver: Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
            with driver.cursor() as cursor:
                with cursor.copy("COPY (SELECT * FROM entries WHERE device = %s) TO STDOUT", (device,)) as out:
                    rows = b"".join(map(bytes, out))
                cursor.execute("DELETE FROM entries WHERE device = %s", (device,))
                driver.commit()
                started_s = time.perf_counter()
                with cursor.copy("COPY entries FROM STDIN") as copy:
                    copy.write(rows)
                driver.commit()
                return time.perf_counter() - started_s

    def over_the_broker(self, settings: SyncSettings, world: World, progress: Progress) -> list[Figure]:
        """The drain of a backlog and the live passes, with the server as a process."""
        device = _Device(self._folder, "terminal-live", self.services)
        device.record(settings.passes)
        waited, pipelined = _publish_alone(world, device.payloads_a_pass())
        child = Child("billing_server.main", ["--config", str(self._configuration(world))], self._log("server"))
        agent = _RunningAgent(device, world, self.services)
        try:
            self._wait(lambda: self._connected(child, "server"), child)
            what = _("arriéré")
            started_s = time.perf_counter()
            agent.start()
            while device.journal.backlog:
                progress(what, device.journal.acknowledged_up_to, 2 * settings.passes)
                self._check(child, started_s)
                time.sleep(0.01)
            drained = settings.passes / (time.perf_counter() - started_s)
            progress(what, 2 * settings.passes, 2 * settings.passes)
            delays_ms = [self._live(device, number, settings.live, child, progress) for number in range(settings.live)]
        finally:
            agent.stop()
            child.stop()
        detail = _("{rate:.0f} passages/s durables ; un message par passage, confirmé un par un {floor:.0f}/s")
        ahead = _("{rate:.0f} passages/s durables ; un message par passage, sans attendre {floor:.0f}/s")
        return [
            Figure(
                "sync.drain",
                _("arriéré / un à un"),
                drained / waited,
                "ratio",
                2.0,
                Better.HIGHER,
                detail.format(rate=drained, floor=waited),
            ),
            Figure(
                "sync.drain_pipelined",
                _("arriéré / à la file"),
                drained / pipelined,
                "ratio",
                2.0,
                Better.HIGHER,
                ahead.format(rate=drained, floor=pipelined),
            ),
            Figure(
                "sync.live_ms",
                _("de l'accord au registre"),
                median(delays_ms),
                "ms",
                300.0,
                detail=_("médiane de {n}, la plus longue {most:.0f} ms").format(n=len(delays_ms), most=max(delays_ms)),
            ),
        ]

    def _live(self, device: _Device, number: int, of: int, child: Child, progress: Progress) -> float:
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

    def workers(self, settings: SyncSettings, world: World, progress: Progress) -> Figure:
        """Entries a second from several devices into the ledger: a server and a worker, over the server alone."""
        what = _("deux processus")
        rates = []
        for run, count in enumerate((1, 2)):
            progress(what, run, 2)
            devices = [_Device(self._folder, f"terminal-w{run}-{n}", self.services) for n in range(settings.devices)]
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

    def _shared_drain(self, world: World, devices: list[_Device], child: Child) -> float:
        """Entries a second, all devices publishing at once by paho alone."""
        clients = [_connected_client(world, device.name) for device in devices]
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

    def pull(self, settings: SyncSettings, progress: Progress) -> Figure:
        """A page by cursor from the largest ledger, over a page from one of ten thousand passes, in turns."""
        what = _("lecture")
        progress(what, 0, 2)
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CREATE DATABASE small"))
        small = Database(self._url.replace("@/postgres?", "@/small?"))
        try:
            small.upgrade()
            _fill(small, _SMALL)
            _fill(self.services.database, settings.largest)
            progress(what, 1, 2)
            chosen = random.Random(1)  # noqa: S311 - the same places each time
            samples: tuple[list[float], list[float]] = ([], [])
            for turn in range(settings.pulls + 1):
                for database, passes, took in zip(
                    (small, self.services.database), (_SMALL, settings.largest), samples, strict=True
                ):
                    started_s = time.perf_counter()
                    with database.reading() as session:
                        if len(reading.passes_after(session, chosen.randrange(passes - _PAGE), _PAGE)) != _PAGE:
                            raise BenchmarkFailed(_("une page n'est pas entière"))
                    if turn:  # the first of each prepares the statement
                        took.append(time.perf_counter() - started_s)
        finally:
            small.close()
        progress(what, 2, 2)
        small_s, large_s = map(median, samples)
        detail = _("{small:.1f} ms sur 10 000 passages, {large:.1f} ms sur {n}").format(
            small=1000 * small_s, large=1000 * large_s, n=settings.largest
        )
        return Figure(
            "sync.pull", _("lecture par curseur, grand / petit"), large_s / small_s, "ratio", 1.5, detail=detail
        )

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

    def _wait(self, true: Callable[[], bool], child: Child) -> None:
        started_s = time.perf_counter()
        while not true():
            self._check(child, started_s)
            time.sleep(0.02)

    @staticmethod
    def _check(child: Child, started_s: float) -> None:
        child.check_running()
        if time.perf_counter() - started_s > _WITHIN_S:
            raise BenchmarkFailed(_("un programme n'est pas prêt à temps"))


class _Device:
    """A registered terminal with a journal on disk."""

    def __init__(self, folder: Path, name: str, services: Services) -> None:
        self.name, self.folder = DeviceId(name), folder
        signing, opening = SigningKey.load_or_create(folder / f"{name}.sign"), OpeningKey.load_or_create(folder / name)
        self.journal = PassJournal(folder / f"{name}.journal", self.name, signing)
        with services.database.writing() as session:
            services.devices.register(
                session, DeviceEntry(self.name, DeviceRole.TERMINAL, signing.verifying_key, opening.sealing_key)
            )
        self._pupils = [new_pupil_id() for _ in range(500)]
        self._passed = 0

    def grant(self) -> PassGranted:
        """The next pupil, on the next day after the last one."""
        pupil, turn = self._pupils[self._passed % 500], self._passed // 500
        self._passed += 1
        moment = ServiceMoment(date(2026, 1, 5) + timedelta(days=turn), "midi")
        return PassGranted(new_pass_id(), pupil, PassMethod.HAND, moment, EntitlementKind.FORFAIT_4_DAYS)

    def record(self, passes: int) -> None:
        """Record passes with their outcomes, a hundred a commit."""
        now = SystemClock().utc_now()
        for start in range(0, passes, 100):
            facts: list[Fact] = []
            for _turn in range(min(100, passes - start)):
                grant = self.grant()
                facts += [grant, PassCompleted(grant.pass_id)]
            self.journal.append_all(facts, now, ClockTrust.TRUSTED)

    def payloads(self) -> list[bytes]:
        """The journal in messages as the agent sends them."""
        payloads, after = [], 0
        while batch := self.journal.batch_after(after, _BATCH_OCTETS):
            payloads.append(batch.payload)
            after = batch.up_to
        return payloads

    def payloads_a_pass(self) -> list[bytes]:
        """The journal in messages of one pass each."""
        entries = self.journal.entries_after(0, self.journal.last_sequence)
        return [write_batch(entries[start : start + 2]) for start in range(0, len(entries), 2)]


class _Heard:
    """A line that leads nowhere: it notes what the ledger acknowledges."""

    connected, unconfirmed = True, 0

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._up_to: dict[str, int] = {}

    def make(self, *_handlers: object) -> _Heard:
        return self

    def start(self) -> None:
        """There is nothing to connect to."""

    def stop(self) -> None:
        """Nor to leave."""

    def subscribe(self, pattern: str) -> None:
        """The benchmark hands messages over itself."""

    def publish(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/ack"):
            acknowledgement = read_acknowledgement(payload)
            with self._changed:
                self._up_to[acknowledgement.device] = acknowledgement.sequence
                self._changed.notify_all()

    def wait_for(self, device: str, sequence: int) -> None:
        """Raises BenchmarkFailed if the ledger has not acknowledged so much in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._up_to.get(device, 0) >= sequence, _WITHIN_S):
                raise BenchmarkFailed(_("le registre a refusé un lot"))


class _RunningAgent:
    """The device's `canteen-sync`, on a thread here."""

    def __init__(self, device: _Device, world: World, services: Services) -> None:
        settings = world.settings(device.name)
        self._agent = SyncAgent(
            device.journal,
            OrderBox(device.folder / f"{device.name}.box"),
            device.name,
            services.signing_key.verifying_key,
            lambda *handlers: MqttTransport(settings, device.name, *handlers),
            SystemClock(),
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._agent.run, args=(self._stop,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)


def _publish_alone(world: World, payloads: list[bytes]) -> tuple[float, float]:
    """Messages a second by paho alone, QoS 1: each confirmed before the next, and all at once, confirmed at the end."""
    client = _connected_client(world, "terminal-paho")
    topic = topic_up("terminal-paho", "journal")
    try:
        one_by_one = payloads[: max(1, len(payloads) // 4)]
        started_s = time.perf_counter()
        for payload in one_by_one:
            client.publish(topic, payload, qos=1).wait_for_publish(_WITHIN_S)
        waited = len(one_by_one) / (time.perf_counter() - started_s)
        started_s = time.perf_counter()
        sent: list[MQTTMessageInfo] = [client.publish(topic, payload, qos=1) for payload in payloads]
        for information in sent:
            information.wait_for_publish(_WITHIN_S)
        return waited, len(payloads) / (time.perf_counter() - started_s)
    except (RuntimeError, ValueError) as error:
        raise BenchmarkFailed(_("le courtier n'a pas confirmé")) from error
    finally:
        client.disconnect()
        client.loop_stop()


def _connected_client(world: World, name: str) -> Client:
    settings = world.settings(name)
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"{name}-alone", protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set(str(settings.ca), str(settings.certificate), str(settings.key))
    client.max_inflight_messages_set(65_535)
    client.connect(settings.host, settings.port)
    client.loop_start()
    return client


def _fill(database: Database, passes: int) -> None:
    """Put this many passes into the ledger, nothing else; the planner knows them, and no write is left over."""
    with database.engine.begin() as connection:
        connection.execute(text("TRUNCATE passes"))
    for first in range(1, passes + 1, _FILLED_AT_ONCE):
        with database.engine.begin() as connection:
            connection.execute(_FILL, {"first": first, "last": min(passes, first + _FILLED_AT_ONCE - 1)})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE passes"))
        connection.execute(text("CHECKPOINT"))


_FILLED_AT_ONCE = 500_000

_FILL = text(
    "INSERT INTO passes (device, pass_id, position, generation, sequence, pupil, method, day, period, charged_to,"
    " granted_at, clock_trust, forced_because, outcome, outcome_at, outcome_position)"
    " SELECT 'terminal-0', lpad(n::text, 26, '0'), n, '0123456789abcdef', n, 'p-' || lpad((n % 2000)::text, 16, '0'),"
    " 'hand', date '2026-01-05' + (n / 2000)::int, 'midi', 'forfait-4', now(), 'trusted', NULL, 'completed', now(), n"
    " FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n"
)
