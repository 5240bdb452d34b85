"""The checks of what hangs on the terminal: board, tray dispenser, card reader, camera."""

from __future__ import annotations

from typing import Any

from firmware_bridge.devices import BoardPart, LossReason, ReaderLossReason, Role, TrayState
from terminal.devices import Devices, PlatenState
from terminal.display.language import _
from terminal.findings import Check, Verdict
from terminal.inbox import Inbox

SLOW_ANSWER_MS = 60.0
"""The standard allows 200 ms; at 9600 baud an answer takes about 30."""
SHAKY_LINE = 10
"""Losses and interruptions since the start, beyond which somebody should look at the plugs."""

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


def board(devices: Devices, inbox: Inbox) -> Check:
    """How the peripherals answer, and whether gate and keypad are there."""
    seen = inbox.board_seen
    parts = [_part(part) for part in devices.board.parts]
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
    if not devices.board.online:
        sentence = _BOARD_LOSSES.get(seen.loss or "", _("Boîtier : pas encore de réponse"))
        return Check("board", Verdict.RISK, sentence, measured)
    if inbox.emergency:
        return Check("board", Verdict.RISK, _("Boîtier : l’alarme a libéré le passage"), measured)
    if inbox.keypad_loss is not None:
        sentence = _("Boîtier : le tourniquet répond, le clavier non ; cartes et personnel seulement")
        return Check("board", Verdict.RISK, sentence, measured)
    if inbox.tampered:
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


def trays(devices: Devices, inbox: Inbox) -> Check:
    """How the dispenser is, where there is one."""
    state = inbox.trays
    if not any(Role.TRAYS in part.roles for part in devices.board.parts):
        return Check("trays", Verdict.WELL, _("Pas de distributeur de plateaux"))
    if state is None:
        return Check("trays", Verdict.WATCH, _("Distributeur de plateaux : pas encore de réponse"))
    verdict, sentence = _TRAYS[state]
    return Check("trays", verdict, sentence, {"state": state.value})


_READER_LOSSES = {
    ReaderLossReason.NO_SERVICE: _("Lecteur de cartes : le service pcscd ne répond pas"),
    ReaderLossReason.NO_READER: _("Lecteur de cartes : il n’est pas branché"),
    ReaderLossReason.STUCK: _("Lecteur de cartes : il ne répond plus ; le débrancher et le rebrancher"),
}


def card_reader(devices: Devices, inbox: Inbox) -> Check:
    """Whether the reader beside the board reads."""
    reader, loss = devices.card_reader, inbox.card_reader_loss
    if reader is None:
        return Check("card-reader", Verdict.WELL, _("Les cartes sont lues par le boîtier"))
    measured = {"loss": None if loss is None else loss.value, "by_chip_alone": devices.cards_by_chip_alone}
    if not reader.ready:
        sentence = _("Lecteur de cartes : pas encore de réponse") if loss is None else _READER_LOSSES[loss]
        return Check("card-reader", Verdict.RISK, sentence, measured)
    if devices.cards_by_chip_alone:
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
    PlatenState.NOT_CALIBRATED: (
        Verdict.RISK,
        _("Lecteur de main : des mains ont été prises sur un lecteur étalonné, et celui-ci ne l’est pas ; l’étalonner"),
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
    PlatenState.MIRROR_BLIND: (
        Verdict.RISK,
        _(
            "Lecteur de main : toutes les mains y paraissent plates ; ôter ce qui couvre le miroir, ou étalonner de "
            "nouveau"
        ),
    ),
    PlatenState.BLURRED: (
        Verdict.WATCH,
        _(
            "Lecteur de main : l’image a perdu en netteté depuis l’étalonnage ({focus_percent} %) ; "
            "essuyer l’objectif, ou refaire la mise au point"
        ),
    ),
    PlatenState.NO_PICTURE: (Verdict.RISK, _("Lecteur de main : pas d’image ; cartes seulement")),
}

_MEASURES_HEIGHTS = _("Lecteur de main : le plateau est vide et bien visible ; la hauteur des mains est mesurée")


def camera(devices: Devices, _inbox: Inbox) -> Check:
    """What a glance at the platen shows; a second at most."""
    look = devices.hand_reader.look_at_platen()
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
            "focus": look.focus,
            "focus_percent": None if look.focus is None else round(100 * look.focus),
            "size_px": look.size_px,
            "calibrated": look.calibrated,
            "heights": look.heights,
            "where": "" if look.place is None else _arrow(*look.place),
        },
    )


def _arrow(x: float, y: float) -> str:
    """Where in the picture, in a sign that needs no language."""
    return ("↖↑↗", "←·→", "↙↓↘")[min(2, int(3 * y))][min(2, int(3 * x))]
