"""Puts the server together from its settings; the only place that chooses what stands behind a port."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from billing_server.accounts import AccountDesk
from billing_server.authority import Authority
from billing_server.balances import BalanceDesk
from billing_server.cards import CardDesk
from billing_server.carrying import CarryDesk
from billing_server.certificates import CertificateDesk
from billing_server.clients import ClientBook, Pace
from billing_server.configuration import Settings
from billing_server.consents import ConsentDesk
from billing_server.database import Database
from billing_server.devices import DeviceDesk
from billing_server.downlink import Downlink
from billing_server.drains import Drains
from billing_server.early_passes import forget_reached
from billing_server.errors import ConfigurationRefused
from billing_server.feed_positions import GivenPositions
from billing_server.greeting import Greeter
from billing_server.housekeeping import Housekeeping
from billing_server.ingest import Ingest
from billing_server.line import Line, Outlet, Share, TransportFactory
from billing_server.operators import OperatorBook
from billing_server.orders import OrderDesk, announce
from billing_server.pass_desk import PassDesk
from billing_server.projections import Projector
from billing_server.provisioning import ProvisioningDesk
from billing_server.pulse import Pulse
from billing_server.purge_deadlines import PurgeDesk
from billing_server.purge_evidence import EvidenceDesk
from billing_server.refusals import Refusals
from billing_server.renewals import RenewalDesk
from billing_server.resealing import ResealDesk
from billing_server.retention import RetentionDesk
from billing_server.roster import PupilRegistry
from billing_server.school import School
from billing_server.settlements import SettlementDesk
from billing_server.turns import Turns
from billing_server.vault import Vault
from billing_server.year_end import YearEnd
from canteen.clock import Clock, SystemClock
from sync.mqtt_transport import BrokerSettings, MqttTransport
from sync.sealing import OpeningKey
from sync.signing import SigningKey

_log = logging.getLogger("canteen.billing")

_CLIENT_ID = "canteen-billing"

PROVISIONINGS_A_MINUTE = 10
"""Tries with a code, of all the world together."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route or a thread works with."""

    settings: Settings
    database: Database
    signing_key: SigningKey = field(repr=False)
    opening_key: OpeningKey = field(repr=False)
    operators: OperatorBook
    clients: ClientBook
    pace: Pace
    given: GivenPositions
    school: School
    orders: OrderDesk
    pupils: PupilRegistry
    cards: CardDesk
    purges: PurgeDesk
    consents: ConsentDesk
    devices: DeviceDesk
    accounts: AccountDesk
    balances: BalanceDesk
    settlements: SettlementDesk
    certificates: CertificateDesk
    evidence: EvidenceDesk
    carry: CarryDesk
    provisioning: ProvisioningDesk | None
    renewals: RenewalDesk
    provisioning_pace: Pace
    ingest: Ingest
    downlink: Downlink
    refusals: Refusals
    drains: Drains
    pulse: Pulse
    line: Line
    housekeeping: Housekeeping
    worker: str | None
    clock: Clock

    def start(self) -> None:
        """Bring the schema up to date, start the threads, connect to the broker."""
        self.database.upgrade()
        if self.worker is None:
            with self.database.writing() as session:
                self.given.recall(session)
        if self.provisioning is not None and self.settings.authority is not None:
            self.provisioning.authority.certificate_pem()
            if not self.settings.authority.revoked.exists():  # a broker that is told of a list wants to find it
                with self.database.reading() as session:
                    self.provisioning.write_revoked(session)
        self.line.start(_transport_factory(self.settings, self.worker))
        self.housekeeping.start()

    def stop(self) -> None:
        """Finish what is in hand and let go of everything."""
        self.line.stop()
        self.housekeeping.stop()
        self.database.close()


def assemble(settings: Settings, clock: Clock | None = None, worker: str | None = None) -> Services:
    """The server, not yet started; or with `worker`, its name, one that takes journals beside the server.

    Raises:
        ConfigurationRefused: the database's address cannot be, or does not go with workers.
        PrivateFileRefused: a key's file is open to others or damaged.
    """
    clock = clock or SystemClock()
    database = Database(settings.database_url)
    _check_workers(settings, database, worker)
    signing_key = SigningKey.load_or_create(settings.keys.signing_key)
    opening_key = OpeningKey.load_or_create(settings.keys.sealing_key)
    vault = Vault.load_or_create(settings.keys.code_key)
    school = School(settings.school_name, settings.policy.missing_entitlement, settings.policy.code_length)
    outlet, refusals, drains, pulse = Outlet(), Refusals(clock), Drains(clock), Pulse()

    orders = OrderDesk(signing_key, clock)
    pupils = PupilRegistry(vault, orders, clock, settings.policy.code_length)
    cards = CardDesk(vault, orders, opening_key, clock)
    purges = PurgeDesk(orders, cards, clock, settings.policy.purge_deadline, settings.policy.lease)
    balances = BalanceDesk(orders, settings.school.meal_cents, settings.policy.no_meals_left, clock)
    year_end = YearEnd(purges, school, settings.policy.erase_hands_on, clock)
    consents = ConsentDesk(purges, clock)
    devices = DeviceDesk(orders, pupils, cards, balances, school, clock, settings.policy.lease)
    accounts = AccountDesk(settings.school.meal_cents, clock)
    authority = None if settings.authority is None else Authority(settings.authority, clock)
    provisioning = None if authority is None else ProvisioningDesk(devices, authority, clock)
    greeter = Greeter(signing_key, authority, clock, outlet.publish)
    projector = Projector(orders, devices, consents, cards, purges, PassDesk(accounts, school, clock), clock)
    ingest = Ingest(database, projector, devices, refusals, pulse, signing_key, clock, outlet.publish, greeter)
    downlink = Downlink(database, outlet.publish, greeter, {})
    shared = settings.broker is not None and settings.broker.workers
    share = Share.WORKER if worker is not None else Share.WITH_WORKERS if shared else Share.ALL
    renewals = RenewalDesk(database, provisioning, refusals, signing_key, clock, outlet.publish, Pace(6, clock))
    turns = Turns(ingest.reached, clock)
    line = Line(ingest, renewals, downlink, refusals, outlet, share, turns)
    announce(database.writers, _after_orders(line, pulse))
    return Services(
        settings=settings,
        database=database,
        signing_key=signing_key,
        opening_key=opening_key,
        operators=OperatorBook(settings.keys.operators),
        clients=ClientBook(settings.keys.clients),
        pace=Pace(settings.pulls_per_minute, clock),
        given=GivenPositions(settings.keys.clients.with_name("positions-given.json"), clock),
        school=school,
        orders=orders,
        pupils=pupils,
        cards=cards,
        purges=purges,
        consents=consents,
        devices=devices,
        accounts=accounts,
        balances=balances,
        settlements=SettlementDesk(accounts, projector, clock),
        certificates=CertificateDesk(signing_key, school, settings.school.uai, clock),
        evidence=EvidenceDesk(signing_key, school, settings.school.uai, clock),
        carry=CarryDesk(database, ingest, renewals, refusals, opening_key, signing_key, clock),
        provisioning=provisioning,
        renewals=renewals,
        provisioning_pace=Pace(PROVISIONINGS_A_MINUTE, clock),
        ingest=ingest,
        downlink=downlink,
        refusals=refusals,
        drains=drains,
        pulse=pulse,
        line=line,
        housekeeping=Housekeeping(
            database,
            (
                refusals.write_down,
                year_end.watch,
                purges.watch,
                devices.renew_leases,
                ResealDesk(orders, clock).watch,
                RetentionDesk(school, clock, settings.policy.passes_kept, settings.policy.audit_kept).watch,
                balances.tell_changes,
                lambda session: forget_reached(session, clock.utc_now()),
                lambda session: pulse.beat() if drains.look(session) else None,  # a worker's beats are its own
            )
            if worker is None
            else (refusals.write_down,),
        ),
        worker=worker,
        clock=clock,
    )


def _after_orders(line: Line, pulse: Pulse) -> Callable[[set[str]], None]:
    def wake(devices: set[str]) -> None:
        pulse.beat()
        line.wake(devices)

    return wake


def _check_workers(settings: Settings, database: Database, worker: str | None) -> None:
    shared = settings.broker is not None and settings.broker.workers
    if worker is not None and not shared:
        raise ConfigurationRefused("a worker needs `workers = true` under [broker], for the server and for itself")
    if shared and not database.is_postgresql:
        raise ConfigurationRefused("broker.workers needs PostgreSQL: a SQLite file has one writer at a time")


def _transport_factory(settings: Settings, worker: str | None) -> TransportFactory | None:
    broker = settings.broker
    if broker is None:
        _log.warning("no [broker] in the configuration: devices cannot reach this server")
        return None
    address = BrokerSettings(broker.host, broker.port, broker.ca, broker.certificate, broker.key)
    if broker.workers:
        # A session kept for a worker that is gone would swallow its share.
        address = replace(address, session_expiry_s=0)
    client_id = _CLIENT_ID if worker is None else f"{_CLIENT_ID}-{worker}"
    return lambda on_message, on_connected, on_lost: MqttTransport(
        address, client_id, on_message, on_connected, on_lost
    )
