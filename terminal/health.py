"""Whether this terminal can serve lunch: each thing it depends on, looked at once, in words and as values.

Run at the start, before each service, once a day, and whenever `canteen-terminal doctor` asks. Nothing here opens,
writes or waits for long; a check that breaks is a finding, not an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from canteen.clock import ClockTrust
from canteen.errors import CanteenError
from templates_store.kept_secret import Keeping
from templates_store.reserve import Reserve
from terminal import device_checks
from terminal.devices import Devices
from terminal.display.language import _
from terminal.findings import Check, HealthReport, Verdict
from terminal.identification import Identification
from terminal.inbox import Inbox
from terminal.kept_keys import KeptKeys
from terminal.pass_records import PassRecords
from terminal.self_test import known_answers

FREE_AT_RISK_BYTES = 20 * 1024 * 1024
"""A day of passes takes about 1 MB; below this the next update of anything fills the disk."""
FREE_LITTLE_BYTES = 200 * 1024 * 1024
BACKLOG_LARGE = 5000
"""Eight days of 600 pupils: the line should have been looked at by then."""
ORDERS_WAITING_MANY = 50
LEASE_SHORT = timedelta(days=2)
CUT_OFF_LONG = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class HealthSources:
    """What the checks look at."""

    devices: Devices
    inbox: Inbox
    records: PassRecords
    identification: Identification
    folders: tuple[Path, ...]
    """Where journal, orders and store lie."""
    reserve: Reserve | None = None
    kept_keys: KeptKeys | None = None


def examine(sources: HealthSources) -> HealthReport:
    """Look at everything once; takes a second at most, nearly all of it where the camera is silent."""
    now = sources.devices.clock.utc_now()
    checks = tuple(_looked_at(name, look, sources, now) for name, look in _CHECKS)
    return HealthReport(sources.devices.device, now, checks)


_Look = Callable[[HealthSources, datetime], Check]


def _looked_at(name: str, look: _Look, sources: HealthSources, now: datetime) -> Check:
    try:
        return look(sources, now)
    except (CanteenError, OSError) as error:
        sentence = _("{what} : ne répond pas ({why})")
        return Check(name, Verdict.RISK, sentence, {"what": name, "why": type(error).__name__})


def _cryptography(_sources: HealthSources, _now: datetime) -> Check:
    if known_answers():
        return Check("cryptography", Verdict.WELL, _("Le chiffrement donne les résultats attendus"))
    return Check("cryptography", Verdict.RISK, _("Le chiffrement donne des résultats faux : ne plus s’en servir"))


def _store(sources: HealthSources, _now: datetime) -> Check:
    pupils = sum(1 for _pupil in sources.devices.store.pupils())
    measured = {"pupils": pupils}
    if sources.devices.store.rolled_back:
        sentence = _("Une ancienne copie du coffre a été remise : aucune main comparée avant un mot du serveur")
        return Check("store", Verdict.RISK, sentence, measured)
    if pupils == 0:
        return Check("store", Verdict.RISK, _("Aucun élève connu : la liste n’est pas encore venue"), measured)
    return Check("store", Verdict.WELL, _("{pupils} élèves connus"), measured)


def _calendar(sources: HealthSources, now: datetime) -> Check:
    school = sources.identification.calendar
    if not school.calendar.periods:
        return Check("calendar", Verdict.RISK, _("Aucun calendrier : personne ne passe sans le personnel"))
    moment = school.calendar.moment_at(now)
    measured = {"serving": None if moment is None else moment.period}
    return Check("calendar", Verdict.WELL, _("Le calendrier des services est là"), measured)


def _lease(sources: HealthSources, now: datetime) -> Check:
    until = sources.devices.store.lease_until
    if until is None:
        return Check("lease", Verdict.WATCH, _("Pas encore d’autorisation du serveur de comparer les mains"))
    days = round((until - now) / timedelta(days=1), 1)
    measured = {"days": days, "until": until.isoformat()}
    if until <= now:
        return Check("lease", Verdict.RISK, _("L’autorisation de comparer les mains est finie"), measured)
    verdict = Verdict.WATCH if until - now < LEASE_SHORT else Verdict.WELL
    return Check("lease", verdict, _("Mains comparées pendant {days} jours encore sans nouvelle du serveur"), measured)


def _journal(sources: HealthSources, _now: datetime) -> Check:
    backlog, late = sources.devices.journal.backlog, sources.records.waiting
    measured = {"backlog": backlog, "late": late}
    if late:
        return Check("journal", Verdict.RISK, _("Le journal n’accepte rien : {late} faits attendent"), measured)
    verdict = Verdict.WATCH if backlog > BACKLOG_LARGE else Verdict.WELL
    return Check("journal", verdict, _("Journal lisible, {backlog} écritures à transmettre"), measured)


def _orders(sources: HealthSources, _now: datetime) -> Check:
    box = sources.devices.box
    waiting = box.received_up_to - box.done_up_to
    verdict = Verdict.WATCH if waiting > ORDERS_WAITING_MANY else Verdict.WELL
    return Check("orders", verdict, _("{waiting} ordres du serveur à appliquer"), {"waiting": waiting})


def _line(sources: HealthSources, now: datetime) -> Check:
    link = sources.devices.box.link
    since = None if link.since is None else link.since.isoformat()
    measured: dict[str, Any] = {"connected": link.connected, "since": since}
    if link.connected:
        return Check("line", Verdict.WELL, _("En ligne avec le serveur"), measured)
    if link.since is None:
        return Check("line", Verdict.WATCH, _("Jamais en ligne : la liaison tourne-t-elle ?"), measured)
    days = round((now - link.since) / timedelta(days=1), 1)
    verdict = Verdict.WATCH if now - link.since > CUT_OFF_LONG else Verdict.WELL
    return Check("line", verdict, _("Hors ligne depuis {days} jours : le service continue"), {**measured, "days": days})


def _clock(sources: HealthSources, now: datetime) -> Check:
    trust = sources.records.clock_trust(now)
    measured = {"trust": trust.value, "now": now.isoformat()}
    if trust is ClockTrust.UNTRUSTED:
        return Check("clock", Verdict.RISK, _("L’horloge a reculé : personne ne passe sans le personnel"), measured)
    if trust is ClockTrust.UNCONFIRMED:
        return Check("clock", Verdict.WATCH, _("L’heure n’a pas été confirmée par le serveur ces temps-ci"), measured)
    return Check("clock", Verdict.WELL, _("L’heure est confirmée par le serveur"), measured)


def _disk(sources: HealthSources, _now: datetime) -> Check:
    free_bytes = min(_free_bytes(folder) for folder in sources.folders) if sources.folders else 0
    free_mb = free_bytes // (1024 * 1024)
    if sources.reserve is not None and not sources.reserve.held:
        sentence = _("Le disque a été plein : la réserve est entamée, {free_mb} Mo libres")
        return Check("disk", Verdict.RISK, sentence, {"free_mb": free_mb})
    if free_bytes < FREE_AT_RISK_BYTES:
        return Check("disk", Verdict.RISK, _("Le disque est presque plein : {free_mb} Mo libres"), {"free_mb": free_mb})
    verdict = Verdict.WATCH if free_bytes < FREE_LITTLE_BYTES else Verdict.WELL
    return Check("disk", verdict, _("{free_mb} Mo libres sur le disque"), {"free_mb": free_mb})


def _keys(sources: HealthSources, _now: datetime) -> Check:
    """How the keys of boards and cards lie on the disk; whether the board takes its own, `board` says."""
    keys = sources.kept_keys
    files = [] if keys is None else keys.files()
    measured: dict[str, Any] = {one.name: one.keeping.value for one in files}
    pending = ", ".join(one.name for one in files if one.pending)
    if pending:
        sentence = _("Clé d’un boîtier en attente ({pending}) : refaire « canteen-terminal install-key »")
        return Check("keys", Verdict.WATCH, sentence, {**measured, "pending": pending})
    if keys is None or keys.in_the_clear:
        sentence = _("Clés du boîtier et des cartes : en fichiers 0600, comme celle du coffre")
        return Check("keys", Verdict.WELL, sentence, measured)
    plain = ", ".join(one.name for one in files if one.keeping is Keeping.PLAIN)
    if plain:
        sentence = _("Clés encore en clair sur la carte mémoire ({plain}) : le disque accepte-t-il d’écrire ?")
        return Check("keys", Verdict.WATCH, sentence, {**measured, "plain": plain})
    return Check("keys", Verdict.WELL, _("Clés du boîtier et des cartes : scellées, comme celle du coffre"), measured)


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _of_devices(look: Callable[[Devices, Inbox], Check]) -> _Look:
    return lambda sources, _now: look(sources.devices, sources.inbox)


_CHECKS: tuple[tuple[str, _Look], ...] = (
    ("cryptography", _cryptography),
    ("store", _store),
    ("keys", _keys),
    ("calendar", _calendar),
    ("lease", _lease),
    ("journal", _journal),
    ("orders", _orders),
    ("line", _line),
    ("clock", _clock),
    ("disk", _disk),
    ("camera", _of_devices(device_checks.camera)),
    ("board", _of_devices(device_checks.board)),
    ("trays", _of_devices(device_checks.trays)),
    ("card-reader", _of_devices(device_checks.card_reader)),
)
