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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from psycopg import Connection
from sqlalchemy import Engine, select, text

from benchmarks.child import Child
from benchmarks.errors import BenchmarkFailed
from benchmarks.figures import Better, Figure, Report, median
from benchmarks.language import _
from benchmarks.sync_world import World, private_broker, private_postgres
from billing_server import reading
from billing_server.assembly import Services, assemble
from billing_server.configuration import KeyFiles, Policy, Settings
from billing_server.models import MealPassRow
from canteen.clock import ClockTrust, SystemClock
from canteen.entitlements import EntitlementKind
from canteen.identifiers import DeviceId, new_pass_id, new_pupil_id
from canteen.meal_pass import PassCompleted, PassGranted, PassMethod
from canteen.serving_periods import ServiceMoment
from sync.agent import SyncAgent
from sync.facts import Fact
from sync.messages import topic_up, write_batch
from sync.mqtt_transport import MqttTransport
from sync.order_box import OrderBox
from sync.orders import DeviceEntry, DeviceRole
from sync.pass_journal import PassJournal
from sync.sealing import OpeningKey
from sync.signing import SigningKey

Progress = Callable[[str, int, int], None]

_BATCH = 200
"""Entries a message, as `sync.uplink` sends."""
_TOGETHER = 10
"""Messages a transaction, as the line hands them on."""
_PAGE = 500
_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How much is measured."""

    passes: int = 4_000
    rounds: int = 3
    live: int = 40
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
        ratios, rates, floors = [], [], []
        for turn in range(settings.rounds):
            progress(what, turn, settings.rounds)
            device = _Device(self._folder, f"terminal-{turn}", self.services)
            device.record(settings.passes)
            payloads = device.payloads()
            topic = topic_up(device.name, "journal")
            started_s = time.perf_counter()
            for start in range(0, len(payloads), _TOGETHER):
                if not self.services.ingest.take_journals(topic, payloads[start : start + _TOGETHER]):
                    raise BenchmarkFailed(_("le registre a refusé un lot"))
            took_s = time.perf_counter() - started_s
            floor_s = self._copy_again(device.name)
            entries = 2 * settings.passes
            rates.append(entries / took_s)
            floors.append(entries / floor_s)
            ratios.append(floor_s / took_s)
        progress(what, settings.rounds, settings.rounds)
        detail = _("{rate:.0f} entrées/s, COPY seul {floor:.0f} lignes/s").format(
            rate=median(rates), floor=median(floors)
        )
        return Figure("sync.ingest", _("réception / COPY"), median(ratios), "ratio", 0.4, Better.HIGHER, detail)

    def _copy_again(self, device: str) -> float:
        """Take the device's rows out and COPY them in again, bare; the seconds of the COPY and its commit."""
        with self._engine.connect() as connection:
            driver: Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
            with driver.cursor() as cursor:
                rows = cursor.execute("SELECT * FROM entries WHERE device = %s ORDER BY sequence", (device,)).fetchall()
                cursor.execute("DELETE FROM entries WHERE device = %s", (device,))
                driver.commit()
                started_s = time.perf_counter()
                with cursor.copy("COPY entries FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
                driver.commit()
                return time.perf_counter() - started_s

    def over_the_broker(self, settings: SyncSettings, world: World, progress: Progress) -> list[Figure]:
        """The drain of a backlog and the live passes, with the server as a process."""
        device = _Device(self._folder, "terminal-live", self.services)
        device.record(settings.passes)
        waited, pipelined = _publish_alone(world, device.payloads_a_pass())
        child = Child("billing_server.main", ["--config", str(self._configuration(world))], self._folder / "server.log")
        agent = _RunningAgent(device, world, self.services)
        try:
            self._wait(lambda: self._server_listens(child), child)
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

    def pull(self, settings: SyncSettings, progress: Progress) -> Figure:
        """A page by cursor from the largest ledger, over a page from one of ten thousand passes."""
        what = _("lecture")
        with self._engine.begin() as connection:
            connection.execute(text("TRUNCATE passes"))
        progress(what, 0, 2)
        small_s = self._pages(10_000, 1, settings.pulls)
        progress(what, 1, 2)
        large_s = self._pages(settings.largest, 10_001, settings.pulls)
        progress(what, 2, 2)
        detail = _("{small:.1f} ms sur 10 000 passages, {large:.1f} ms sur {n}").format(
            small=1000 * small_s, large=1000 * large_s, n=settings.largest
        )
        return Figure(
            "sync.pull", _("lecture par curseur, grand / petit"), large_s / small_s, "ratio", 1.5, detail=detail
        )

    def _pages(self, passes: int, first: int, pulls: int) -> float:
        with self._engine.begin() as connection:
            connection.execute(_FILL, {"first": first, "last": passes})
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE passes"))
        chosen = random.Random(1)  # noqa: S311 - the same places each time
        samples = []
        for _turn in range(pulls):
            after = chosen.randrange(passes - _PAGE)
            started_s = time.perf_counter()
            with self.services.database.reading() as session:
                if len(reading.passes_after(session, after, _PAGE)) != _PAGE:
                    raise BenchmarkFailed(_("une page n'est pas entière"))
            samples.append(time.perf_counter() - started_s)
        return median(samples)

    def _configuration(self, world: World) -> Path:
        ours = world.settings("billing")
        path = self._folder / "billing.toml"
        path.write_text(
            f'school_name = "Banc"\n[database]\nurl = "{self._url}"\n[web]\nport = 0\n'
            '[keys]\nsigning_key = "signing"\nsealing_key = "sealing"\ncode_key = "code"\n'
            'operators = "operators.json"\n'
            f'[broker]\nhost = "{ours.host}"\nport = {ours.port}\nca = "{ours.ca}"\n'
            f'certificate = "{ours.certificate}"\nkey = "{ours.key}"\n',
            encoding="utf-8",
        )
        return path

    def _server_listens(self, child: Child) -> bool:
        child.check_running()
        log = (self._folder / "server.log").read_text(encoding="utf-8", errors="replace")
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
        return self._in_messages(_BATCH)

    def payloads_a_pass(self) -> list[bytes]:
        """The journal in messages of one pass each."""
        return self._in_messages(2)

    def _in_messages(self, entries: int) -> list[bytes]:
        payloads, after = [], 0
        while found := self.journal.entries_after(after, entries):
            payloads.append(write_batch(found))
            after = found[-1].sequence
        return payloads


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
    settings = world.settings("terminal-paho")
    client = Client(CallbackAPIVersion.VERSION2, client_id="terminal-paho", protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set(str(settings.ca), str(settings.certificate), str(settings.key))
    client.max_inflight_messages_set(65_535)
    client.connect(settings.host, settings.port)
    client.loop_start()
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


_FILL = text(
    "INSERT INTO passes (device, pass_id, position, generation, sequence, pupil, method, day, period, charged_to,"
    " granted_at, clock_trust, forced_because, outcome, outcome_at, outcome_position)"
    " SELECT 'terminal-0', lpad(n::text, 26, '0'), n, '0123456789abcdef', n, 'p-' || lpad((n % 2000)::text, 16, '0'),"
    " 'hand', date '2026-01-05' + (n / 2000)::int, 'midi', 'forfait-4', now(), 'trusted', NULL, 'completed', now(), n"
    " FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n"
)
