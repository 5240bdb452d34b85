"""Whether this terminal can serve lunch: each thing it depends on, looked at once, in words and as values.

Run at the start, before each service, once a day, and whenever `canteen-terminal doctor` asks. Nothing here opens,
writes or waits for long; a check that breaks is a finding, not an error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from canteen.clock import ClockTrust
from canteen.errors import CanteenError
from firmware_bridge.devices import BoardPart, LossReason, ReaderLossReason, Role, TrayState
from sync.facts import DeviceChecked
from templates_store.reserve import Reserve
from terminal.devices import Devices, PlatenState
from terminal.display.language import _, both, said_in
from terminal.display.view import Words
from terminal.identification import Identification
from terminal.inbox import Inbox
from terminal.pass_records import PassRecords
from terminal.self_test import known_answers

_log = logging.getLogger("canteen.terminal.health")

FREE_AT_RISK_BYTES = 20 * 1024 * 1024
"""A day of passes takes about 1 MB; below this the next update of anything fills the disk."""
FREE_LITTLE_BYTES = 200 * 1024 * 1024
BACKLOG_LARGE = 5000
"""Eight days of 600 pupils: the line should have been looked at by then."""
ORDERS_WAITING_MANY = 50
LEASE_SHORT = timedelta(days=2)
CUT_OFF_LONG = timedelta(days=3)


class Verdict(StrEnum):
    """How bad it is."""

    WELL = "well"
    WATCH = "watch"
    """Lunch goes on; somebody should look at it this week."""
    RISK = "risk"
    """Lunch, or a way of eating it, is at risk now."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        sentence: in French; {name} stands for a value of `measured`.
    """

    name: str
    verdict: Verdict
    sentence: str
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> Words:
        """The sentence with its values, in both languages."""
        return both(self.sentence).filled(**{name: str(value) for name, value in self.measured.items()})

    def as_json(self) -> dict[str, Any]:
        words = self.words
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "said": {"fr": words.fr, "en": words.en},
            "measured": self.measured,
        }


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks at one instant."""

    device: str
    at: datetime
    checks: tuple[Check, ...]

    @property
    def at_risk(self) -> tuple[str, ...]:
        """The names of what puts lunch at risk."""
        return tuple(check.name for check in self.checks if check.verdict is Verdict.RISK)

    def as_fact(self) -> DeviceChecked:
        """What the server is told: names of checks and firmware, nothing else."""
        watch = tuple(check.name for check in self.checks if check.verdict is Verdict.WATCH)
        parts = [part for check in self.checks if check.name == "board" for part in check.measured.get("parts", ())]
        boards = [
            f"{one['address']} {one['vendor']}/{one['model']} {one['firmware']}" for one in parts if one["vendor"]
        ]
        return DeviceChecked(self.at_risk, watch, tuple(boards))

    def as_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "at": self.at.isoformat(),
            "at_risk": list(self.at_risk),
            "checks": [check.as_json() for check in self.checks],
        }


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


def examine(sources: HealthSources) -> HealthReport:
    """Look at everything once; takes a second at most, nearly all of it where the camera is silent."""
    now = sources.devices.clock.utc_now()
    checks = tuple(_looked_at(name, look, sources, now) for name, look in _CHECKS)
    return HealthReport(sources.devices.device, now, checks)


def told(checks: Iterable[dict[str, Any]], language: str) -> str:
    """The checks as lines for a person, those that need one first."""
    marks = {Verdict.RISK.value: "✗", Verdict.WATCH.value: "!", Verdict.WELL.value: "✓"}
    order = list(marks)
    lines = sorted(checks, key=lambda check: order.index(check["verdict"]))
    return "".join(f"{marks[check['verdict']]} {check['said'][language]}\n" for check in lines)


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


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


_BOARD_LOSSES = {
    LossReason.NO_DEVICE.value: _("Boîtier : la ligne série manque ou est prise"),
    LossReason.SILENT.value: _("Boîtier : personne ne répond sur la ligne"),
    LossReason.KEY_REFUSED.value: _("Boîtier : il répond, mais n’a pas notre clé"),
}


def _part(part: BoardPart) -> dict[str, Any]:
    """One peripheral in values: what it is, how it answers, whether it has our key."""
    said = part.identification
    key = "ours" if part.online else "refused" if part.loss is LossReason.KEY_REFUSED else "unknown"
    return {
        "address": part.address,
        "roles": [role.value for role in part.roles],
        "loss": None if part.loss is None else part.loss.value,
        "key": key,
        "answers": part.quality.answers,
        "sessions": part.quality.sessions,
        "answer_ms": part.quality.answer_ms,
        "firmware": None if said is None else said.firmware,
        "vendor": None if said is None else said.vendor,
        "model": None if said is None else said.model,
        "serial": None if said is None else said.serial,
        "capabilities": [] if said is None else [list(one) for one in said.capabilities],
    }


def _board(sources: HealthSources, _now: datetime) -> Check:
    seen = sources.inbox.board_seen
    parts = [_part(part) for part in sources.devices.board.parts]
    gate = next((part for part in parts if Role.GATE in part["roles"]), {"key": "unknown", "firmware": None})
    measured = {
        "losses": seen.losses,
        "interruptions": seen.interruptions,
        "loss": seen.loss,
        "refused_rotations": seen.refused_rotations,
        "key": gate["key"],
        "firmware": gate["firmware"],
        "parts": parts,
    }
    if not sources.devices.board.online:
        sentence = _BOARD_LOSSES.get(seen.loss or "", _("Boîtier : pas encore de réponse"))
        return Check("board", Verdict.RISK, sentence, measured)
    if sources.inbox.emergency:
        return Check("board", Verdict.RISK, _("Boîtier : l’alarme a libéré le passage"), measured)
    if sources.inbox.keypad_loss is not None:
        sentence = _("Boîtier : le tourniquet répond, le clavier non ; cartes et personnel seulement")
        return Check("board", Verdict.RISK, sentence, measured)
    if sources.inbox.tampered:
        return Check("board", Verdict.WATCH, _("Boîtier : il répond, mais son capot a été ouvert"), measured)
    shaky = seen.losses + seen.interruptions
    if shaky > SHAKY_LINE:
        sentence = _("Boîtier : il répond, mais la ligne a été coupée {shaky} fois depuis le démarrage")
        return Check("board", Verdict.WATCH, sentence, {**measured, "shaky": shaky})
    slowest_ms = max((part["answer_ms"] or 0.0 for part in parts), default=0.0)
    if slowest_ms > SLOW_ANSWER_MS:
        sentence = _("Boîtier : il répond lentement, en {slowest_ms} ms ; câble ou vitesse de la ligne ?")
        return Check("board", Verdict.WATCH, sentence, {**measured, "slowest_ms": slowest_ms})
    sentence = _("Boîtier : il répond en {slowest_ms} ms avec notre clé, micrologiciel {firmware}")
    return Check("board", Verdict.WELL, sentence, {**measured, "slowest_ms": slowest_ms})


_TRAYS = {
    TrayState.READY: (Verdict.WELL, _("Distributeur de plateaux : prêt")),
    TrayState.JAMMED: (Verdict.WATCH, _("Distributeur de plateaux : bloqué ; les élèves prennent sur la pile")),
    TrayState.EMPTY: (Verdict.WATCH, _("Distributeur de plateaux : vide")),
    TrayState.LOST: (Verdict.WATCH, _("Distributeur de plateaux : il ne répond pas ; plateaux sur la pile")),
}
"""Never a risk: a meal is eaten without the machine's tray."""


def _trays(sources: HealthSources, _now: datetime) -> Check:
    state = sources.inbox.trays
    if not any(Role.TRAYS in part.roles for part in sources.devices.board.parts):
        return Check("trays", Verdict.WELL, _("Pas de distributeur de plateaux"))
    if state is None:
        return Check("trays", Verdict.WATCH, _("Distributeur de plateaux : pas encore de réponse"))
    verdict, sentence = _TRAYS[state]
    return Check("trays", verdict, sentence, {"state": state.value})


SLOW_ANSWER_MS = 60.0
"""The standard allows 200 ms; at 9600 baud an answer takes about 30."""
SHAKY_LINE = 10
"""Losses and interruptions since the start, beyond which somebody should look at the plugs."""

_READER_LOSSES = {
    ReaderLossReason.NO_SERVICE: _("Lecteur de cartes : le service pcscd ne répond pas"),
    ReaderLossReason.NO_READER: _("Lecteur de cartes : il n’est pas branché"),
    ReaderLossReason.STUCK: _("Lecteur de cartes : il ne répond plus ; le débrancher et le rebrancher"),
}


def _card_reader(sources: HealthSources, _now: datetime) -> Check:
    reader, loss = sources.devices.card_reader, sources.inbox.card_reader_loss
    if reader is None:
        return Check("card-reader", Verdict.WELL, _("Les cartes sont lues par le boîtier"))
    measured = {"loss": None if loss is None else loss.value, "by_chip_alone": sources.devices.cards_by_chip_alone}
    if not reader.ready:
        sentence = _("Lecteur de cartes : pas encore de réponse") if loss is None else _READER_LOSSES[loss]
        return Check("card-reader", Verdict.RISK, sentence, measured)
    if sources.devices.cards_by_chip_alone:
        sentence = _("Lecteur de cartes : il lit, mais par le seul numéro de puce, que chacun peut copier")
        return Check("card-reader", Verdict.WATCH, sentence, measured)
    return Check("card-reader", Verdict.WELL, _("Lecteur de cartes : il lit"), measured)


_PLATEN = {
    PlatenState.EMPTY: (Verdict.WELL, _("Lecteur de main : le plateau est vide et bien visible")),
    PlatenState.SOMETHING_LIES: (Verdict.WELL, _("Lecteur de main : quelque chose est posé sur le plateau")),
    PlatenState.BUSY: (Verdict.WELL, _("Lecteur de main : il regarde une main en ce moment")),
    PlatenState.TOO_DARK: (Verdict.RISK, _("Lecteur de main : l’image est noire ; objectif couvert ou lampe éteinte")),
    PlatenState.TOO_LIGHT: (Verdict.RISK, _("Lecteur de main : tout est clair ; plateau ôté ou lumière d’à côté")),
    PlatenState.CALIBRATION_UNREADABLE: (
        Verdict.RISK,
        _("Lecteur de main : l’étalonnage est illisible ; étalonner de nouveau"),
    ),
    PlatenState.SHEET_NOT_SEEN: (
        Verdict.RISK,
        _("Lecteur de main : la feuille ne se voit pas ; plateau ôté, ou caméra tournée"),
    ),
    PlatenState.SHEET_MOVED: (
        Verdict.RISK,
        _("Lecteur de main : la feuille ou la caméra a bougé ; la remettre, ou étalonner de nouveau"),
    ),
    PlatenState.SHEET_COVERED: (Verdict.RISK, _("Lecteur de main : quelque chose cache la feuille ({where})")),
    PlatenState.SHEET_DIRTY: (Verdict.WATCH, _("Lecteur de main : la feuille est sale ({where}) ; l’essuyer")),
    PlatenState.MIRROR_DIRTY: (
        Verdict.RISK,
        _("Lecteur de main : le miroir est sale ou couvert ({where}) ; l’essuyer, sinon des mains seront refusées"),
    ),
    PlatenState.NO_PICTURE: (Verdict.RISK, _("Lecteur de main : pas d’image ; cartes seulement")),
}

_MEASURES_HEIGHTS = _("Lecteur de main : le plateau est vide et bien visible ; la hauteur des mains est mesurée")


def _camera(sources: HealthSources, _now: datetime) -> Check:
    look = sources.devices.hand_reader.look_at_platen()
    verdict, sentence = _PLATEN[look.state]
    if look.heights and look.state is PlatenState.EMPTY:
        sentence = _MEASURES_HEIGHTS
    return Check(
        "camera",
        verdict,
        sentence,
        {
            "state": look.state.value,
            "grey": look.grey,
            "sharpness": look.sharpness,
            "size_px": look.size_px,
            "calibrated": look.calibrated,
            "heights": look.heights,
            "where": "" if look.place is None else _arrow(*look.place),
        },
    )


def _arrow(x: float, y: float) -> str:
    """Where in the picture, in a sign that needs no language."""
    return ("↖↑↗", "←·→", "↙↓↘")[min(2, int(3 * y))][min(2, int(3 * x))]


_CHECKS: tuple[tuple[str, _Look], ...] = (
    ("cryptography", _cryptography),
    ("store", _store),
    ("calendar", _calendar),
    ("lease", _lease),
    ("journal", _journal),
    ("orders", _orders),
    ("line", _line),
    ("clock", _clock),
    ("disk", _disk),
    ("camera", _camera),
    ("board", _board),
    ("trays", _trays),
    ("card-reader", _card_reader),
)


def summed_up(report: dict[str, Any], language: str) -> str:
    """The last line of what the doctor says."""
    if report["at_risk"]:
        return said_in(language, _("Le service est en danger.")) + "\n"
    return said_in(language, _("Le service peut avoir lieu.")) + "\n"
