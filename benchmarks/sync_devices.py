"""Who sends in the sync benchmark: terminals with a journal on disk, their agent, and paho by itself."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks.errors import BenchmarkFailed
from benchmarks.language import _
from benchmarks.sync_world import World
from billing_server.assembly import Services
from canteen.clock import ClockTrust, SystemClock
from canteen.entitlements import EntitlementKind
from canteen.identifiers import DeviceId, new_pass_id, new_pupil_id
from canteen.meal_pass import PassCompleted, PassGranted, PassMethod
from canteen.serving_periods import ServiceMoment
from sync.agent import SyncAgent
from sync.facts import Fact
from sync.messages import read_acknowledgement, write_batch
from sync.mqtt_transport import MqttTransport
from sync.order_box import OrderBox
from sync.orders import DeviceEntry, DeviceRole
from sync.pass_journal import PassJournal
from sync.sealing import OpeningKey
from sync.signing import SigningKey
from sync.uplink import BATCH_MOST

WITHIN_S = 120.0


class BenchDevice:
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
        # Of a backlog's days: the server would let go of the pupils of older ones meanwhile.
        self._first_day = SystemClock().utc_now().date() - timedelta(days=60)
        self._passed = 0

    def grant(self) -> PassGranted:
        """The next pupil, on the next day after the last one."""
        pupil, turn = self._pupils[self._passed % 500], self._passed // 500
        self._passed += 1
        moment = ServiceMoment(self._first_day + timedelta(days=turn), "midi")
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
        while batch := self.journal.batch_after(after, BATCH_MOST):
            payloads.append(batch.payload)
            after = batch.up_to
        return payloads

    def payloads_a_pass(self) -> list[bytes]:
        """The journal in messages of one pass each."""
        entries = self.journal.entries_after(0, self.journal.last_sequence)
        return [write_batch(entries[start : start + 2]) for start in range(0, len(entries), 2)]


class AcknowledgementsHeard:
    """A line that leads nowhere: it notes what the ledger acknowledges."""

    connected, unconfirmed = True, 0

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._up_to: dict[str, int] = {}

    def make(self, *_handlers: object) -> AcknowledgementsHeard:
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
            if not self._changed.wait_for(lambda: self._up_to.get(device, 0) >= sequence, WITHIN_S):
                raise BenchmarkFailed(_("le registre a refusé un lot"))


class RunningAgent:
    """The device's `canteen-sync`, on a thread here."""

    def __init__(self, device: BenchDevice, world: World, services: Services) -> None:
        settings = world.settings(device.name)
        self.device, self.box = device.name, OrderBox(device.folder / f"{device.name}.box")
        self._agent = SyncAgent(
            device.journal,
            self.box,
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


def publish_alone(world: World, payloads: list[bytes]) -> tuple[float, float]:
    """Messages a second by paho alone, QoS 1: each confirmed before the next, and all at once, confirmed at the end.

    On a topic that nobody listens to: what a server does with them is no part of a floor.
    """
    client = connected_client(world, "terminal-paho")
    topic = "canteen/terminal-paho/lane/alone"
    try:
        one_by_one = payloads[: max(1, len(payloads) // 4)]
        started_s = time.perf_counter()
        for payload in one_by_one:
            client.publish(topic, payload, qos=1).wait_for_publish(WITHIN_S)
        waited = len(one_by_one) / (time.perf_counter() - started_s)
        started_s = time.perf_counter()
        sent: list[MQTTMessageInfo] = [client.publish(topic, payload, qos=1) for payload in payloads]
        for information in sent:
            information.wait_for_publish(WITHIN_S)
        return waited, len(payloads) / (time.perf_counter() - started_s)
    except (RuntimeError, ValueError) as error:
        raise BenchmarkFailed(_("le courtier n'a pas confirmé")) from error
    finally:
        client.disconnect()
        client.loop_stop()


def connected_client(world: World, name: str) -> Client:
    settings = world.settings(name)
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"{name}-alone", protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set(str(settings.ca), str(settings.certificate), str(settings.key))
    client.max_inflight_messages_set(65_535)
    client.connect(settings.host, settings.port)
    client.loop_start()
    return client
