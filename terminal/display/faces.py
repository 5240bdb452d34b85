"""What the screen says, for a child of eleven: few words, what to do next, and never a word of money or blame."""

from __future__ import annotations

from dataclasses import dataclass, replace

from canteen.access_decision import Reason, StaffSign
from canteen.meal_pass import PassMethod
from firmware_bridge.devices import CardRefusal
from hand_geometry.quality import Finding, QualityReason
from terminal.display.language import _
from terminal.display.view import LineStatus, Tone
from terminal.pass_machine import HAND_TRIES, PassAttempt, State


@dataclass(frozen=True, slots=True)
class Face:
    """One look of the screen, in French; {name} in `message` and {when} in `prompt` are filled in when it is shown.

    Attributes:
        board_text: for the board's own line of 32 characters.
        staff_note: shown small: a technical word that staff can act on.
    """

    tone: Tone
    pictogram: str
    message: str
    prompt: str
    board_text: str
    staff_note: str | None = None


_IDLE = Face(Tone.READY, "keypad", _("Tape ton code"), _("ou présente ta carte"), _("Code ou carte"))
_IDLE_WITHOUT_CARDS = Face(
    Tone.READY, "keypad", _("Tape ton code"), _("Cartes en panne : ton code, ou un adulte"), _("Tape ton code")
)
_IDLE_WITHOUT_KEYS = Face(
    Tone.READY, "card", _("Présente ta carte"), _("Clavier en panne : ta carte, ou un adulte"), _("Présente ta carte")
)
_CLOSED = Face(Tone.READY, "clock", _("C’est fermé pour l’instant"), _("Reviens à l’heure du repas"), _("Fermé"))
_CLOSED_UNTIL = Face(Tone.READY, "clock", _("C’est fermé pour l’instant"), _("Ça ouvre à {when}"), _("Fermé"))
_TYPING = Face(Tone.READY, "keypad", _("Tape ton code"), _("Erreur ? Touche ✱"), _("Tape ton code"))
_RETYPE = Face(Tone.READY, "again", _("Retape ton code"), _("depuis le premier chiffre"), _("Retape ton code"))
_HAND = Face(Tone.ASK, "hand", _("Pose ta main"), _("bien à plat, doigts écartés"), _("Pose ta main"))
_WAIT = Face(Tone.ASK, "clock", _("Un instant…"), _("Je regarde"), _("Un instant"))
_GRANTED = Face(Tone.GRANTED, "pass", _("Bon appétit, {name} !"), _("Tu peux passer"), _("Bon appétit !"))
_GRANTED_UNNAMED = Face(Tone.GRANTED, "pass", _("Bon appétit !"), _("Tu peux passer"), _("Bon appétit !"))
_TAKE_A_TRAY = _("Tu peux passer : prends un plateau sur la pile")
_ABANDONED = Face(
    Tone.DENIED, "again", _("Le passage s’est refermé"), _("Recommence : ton repas t’attend"), _("Recommence")
)
_STARTING = Face(Tone.FAULT, "clock", _("Je me prépare"), _("Encore un petit instant"), _("Un instant"))
_FAULT = Face(
    Tone.FAULT, "adult", _("Je ne marche pas"), _("Demande à un adulte : tu vas manger"), _("En panne : adulte")
)
_EMERGENCY = Face(Tone.FAULT, "adult", _("Suis les adultes"), _("Le passage est libre"), _("Passage libre"))

_PAUSED_READER = Face(
    Tone.DENIED,
    "card",
    _("Le lecteur de main est en pause"),
    _("Prends ta carte ou appelle un adulte"),
    _("Prends ta carte"),
)

_HAND_ALONE = Face(
    Tone.ASK, "hand", _("Pose juste ta main"), _("Rien dessous, rien dessus, bien à plat"), _("Ta main seule")
)
"""For what the mirror sees to be no hand: a child whose hand it is can only take away what else lies there."""

GUIDANCE: dict[str | None, Face] = {
    None: Face(
        Tone.ASK, "hand", _("Encore une fois"), _("Enlève ta main, puis repose-la bien à plat"), _("Repose ta main")
    ),
    QualityReason.NO_HAND: Face(
        Tone.ASK, "hand", _("Je ne vois pas ta main"), _("Pose-la au milieu"), _("Pose ta main")
    ),
    QualityReason.FINGERS_CLOSED: Face(
        Tone.ASK, "fingers", _("Écarte les doigts"), _("Repose ta main, doigts bien écartés"), _("Écarte les doigts")
    ),
    QualityReason.FINGER_MISSING: Face(
        Tone.ASK,
        "five",
        _("Montre tous tes doigts"),
        _("Repose ta main, les cinq doigts à plat"),
        _("Les cinq doigts"),
    ),
    QualityReason.HAND_CUT_OFF: Face(
        Tone.ASK, "centre", _("Mets ta main au milieu"), _("Toute la main, manche relevée"), _("Main au milieu")
    ),
    QualityReason.WRONG_HAND: Face(
        Tone.ASK, "other-hand", _("L’autre main !"), _("Pose ton autre main à plat"), _("L’autre main !")
    ),
    Finding.BLURRED: Face(
        Tone.ASK, "still", _("Ne bouge plus"), _("Repose ta main et compte jusqu’à deux"), _("Ne bouge plus")
    ),
    QualityReason.FLAT_THING: _HAND_ALONE,
    QualityReason.EVEN_HEIGHT: _HAND_ALONE,
    QualityReason.WEB_HIDDEN: Face(
        Tone.ASK,
        "hand",
        _("Écarte encore les doigts"),
        _("Une ombre ou une bague gêne entre eux"),
        _("Écarte les doigts"),
    ),
    Finding.FINGERS_TOUCHING: Face(
        Tone.ASK,
        "hand",
        _("Écarte ces doigts"),
        _("Ils se touchent : repose ta main"),
        _("Écarte les doigts"),
    ),
    Finding.HAND_TOO_FAR_IN: Face(
        Tone.ASK, "centre", _("Recule un peu ta main"), _("Le bout de tes doigts dépasse"), _("Recule la main")
    ),
    Finding.HAND_TOO_FAR_OUT: Face(
        Tone.ASK, "centre", _("Avance un peu ta main"), _("Toute la paume sur la feuille"), _("Avance la main")
    ),
    Finding.SLEEVE: Face(
        Tone.ASK, "hand", _("Relève ta manche"), _("Dégage ton poignet, puis repose ta main"), _("Relève ta manche")
    ),
    Finding.RING: Face(
        Tone.ASK, "hand", _("Enlève ta bague"), _("Si tu peux, puis repose ta main"), _("Enlève ta bague")
    ),
    Finding.GLARE: Face(
        Tone.ASK, "hand", _("Il y a un reflet ici"), _("Bouge un peu ta main, puis repose-la"), _("Repose ta main")
    ),
    Finding.DIRTY_PLATEN: Face(
        Tone.ASK, "adult", _("Le plateau est sale"), _("Dis-le à un adulte, puis pose ta main"), _("Plateau sale")
    ),
    Finding.HAND_LEAVING: Face(
        Tone.ASK, "still", _("Laisse ta main posée"), _("jusqu’à ce que je dise que c’est bon"), _("Laisse ta main")
    ),
}
"""What to do better at the next placement; None where the hand was read but did not match."""

_REPOSE = Face(Tone.ASK, "hand", _("Repose ta main"), _("Bien à plat, manche relevée, sans bague"), _("Repose ta main"))

_TO_AN_ADULT = _("Va voir un adulte : il va t’aider")

PRESENT_AGAIN = frozenset({CardRefusal.TORN_AWAY, CardRefusal.UNREADABLE, CardRefusal.SPOILED_SESSION})
"""The card may be in order: it was taken away too soon, or noise spoiled what it said."""

_CARD_AGAIN = Face(
    Tone.DENIED, "card", _("Présente ta carte encore"), _("et garde-la posée un instant"), _("Carte : encore")
)
_NOT_THE_CARD = Face(
    Tone.DENIED,
    "card",
    _("Ce n’est pas ta carte de cantine"),
    _("Présente l’autre, ou va voir un adulte"),
    _("Pas la bonne carte"),
)
_CARD_NOT_HERE = Face(Tone.DENIED, "adult", _("Cette carte ne marche pas ici"), _TO_AN_ADULT, _("Va voir un adulte"))
_NOT_THE_CARD_FOR = frozenset({CardRefusal.NOT_DESFIRE, CardRefusal.RANDOM_UID, CardRefusal.OTHER_SCHOOL})

DENIALS: dict[Reason, Face] = {
    Reason.UNKNOWN_CODE: Face(
        Tone.DENIED, "keypad", _("Je ne connais pas ce code"), _("Retape-le doucement"), _("Code inconnu")
    ),
    Reason.UNKNOWN_CARD: Face(
        Tone.DENIED,
        "card",
        _("Je ne connais pas cette carte"),
        _("Présente-la encore, ou va voir un adulte"),
        _("Carte inconnue"),
    ),
    Reason.CARD_BLOCKED: Face(
        Tone.DENIED,
        "adult",
        _("Cette carte ne marche plus"),
        _("Va voir un adulte : tu en auras une autre"),
        _("Carte bloquée"),
    ),
    Reason.OUTSIDE_SERVING_PERIOD: Face(
        Tone.DENIED, "clock", _("Ce n’est pas encore l’heure"), _("Reviens à l’heure du repas"), _("Pas encore l’heure")
    ),
    Reason.NO_ENTITLEMENT_TODAY: Face(
        Tone.DENIED, "adult", _("Pas de repas prévu aujourd’hui"), _TO_AN_ADULT, _("Va voir un adulte")
    ),
    Reason.NO_MEALS_LEFT: Face(
        Tone.DENIED, "adult", _("Pas de repas prévu aujourd’hui"), _TO_AN_ADULT, _("Va voir un adulte")
    ),
    Reason.ALREADY_SERVED: Face(
        Tone.DENIED,
        "plate",
        _("Ton repas est déjà pris"),
        _("Une erreur ? Va voir un adulte"),
        _("Ton repas est déjà pris"),
    ),
    Reason.CARD_REQUIRED: Face(
        Tone.DENIED, "card", _("Prends ta carte"), _("et présente-la ici"), _("Prends ta carte")
    ),
    Reason.REFERENCE_EXPIRED: _PAUSED_READER,
    Reason.HAND_NOT_READ: Face(
        Tone.DENIED,
        "card",
        _("Je n’ai pas bien vu ta main"),
        _("Prends ta carte ou appelle un adulte"),
        _("Carte ou adulte"),
    ),
    Reason.HAND_NOT_MATCHED: Face(
        Tone.DENIED,
        "card",
        _("Je n’ai pas reconnu ta main"),
        _("Prends ta carte ou appelle un adulte"),
        _("Carte ou adulte"),
    ),
    Reason.TOO_SLOW: Face(Tone.DENIED, "again", _("On reprend ?"), _("Retape ton code quand tu veux"), _("Recommence")),
    Reason.JOURNAL_UNAVAILABLE: Face(
        Tone.DENIED,
        "adult",
        _("J’ai une petite panne"),
        _("Demande à un adulte : tu vas manger"),
        _("Va voir un adulte"),
        staff_note="journal-unavailable",
    ),
    Reason.CLOCK_UNTRUSTED: Face(
        Tone.DENIED,
        "adult",
        _("J’ai une petite panne"),
        _("Demande à un adulte : tu vas manger"),
        _("Va voir un adulte"),
        staff_note="clock-untrusted",
    ),
    Reason.OUT_OF_SERVICE: Face(
        Tone.DENIED,
        "adult",
        _("J’ai une petite panne"),
        _("Demande à un adulte : tu vas manger"),
        _("Va voir un adulte"),
        staff_note="turnstile-refused",
    ),
}
"""Every reason a pass may be denied for."""

NO_ANSWER = replace(DENIALS[Reason.OUT_OF_SERVICE], tone=Tone.FAULT, staff_note="slow")
"""Store, journal or turnstile hang: two seconds are over, and nothing opens any more."""

EMERGENCY = "emergency"
"""The fault of a gate that an alarm has freed."""
STARTING = "starting"
"""The fault of a terminal that has just begun: its board has not answered yet."""


SIGNS = {StaffSign.NO_BOOKING: "◦", StaffSign.NO_MEALS_LEFT: "•"}
"""Beside a grant, small at the foot of the screen: staff know what it means, the queue behind a child does not."""


def face_for(state: State, attempt: PassAttempt, *, status: LineStatus, fault: str | None) -> Face:
    """The screen's look in `state`."""
    match state:
        case State.IDLE:
            return _idle_face(status)
        case State.TYPING_CODE:
            return _RETYPE if attempt.retype else _TYPING
        case State.AWAITING_HAND:
            return _HAND if attempt.tries == 0 else guidance_face(attempt.guidance)
        case State.GUIDING:
            return guidance_face(attempt.guidance)
        case State.PASSAGE_OPEN | State.CLOSING:
            granted = _GRANTED if attempt.first_name else _GRANTED_UNNAMED
            if status.tray_by_hand:
                granted = replace(granted, prompt=_TAKE_A_TRAY)
            return granted if attempt.sign is None else replace(granted, staff_note=SIGNS[attempt.sign])
        case State.SHOWING_DENIAL:
            return _denial_face(attempt)
        case State.OUT_OF_SERVICE:
            return {STARTING: _STARTING, EMERGENCY: _EMERGENCY}.get(fault or "", _FAULT)
        case State.DECIDING | State.COMPARING:
            return _WAIT


def _idle_face(status: LineStatus) -> Face:
    if status.serving_period is None:
        return _CLOSED if status.opens_at is None else _CLOSED_UNTIL
    if status.keys_heard:
        return _IDLE if status.cards_read else _IDLE_WITHOUT_CARDS
    return _IDLE_WITHOUT_KEYS if status.cards_read else _FAULT


def guidance_face(guidance: str | None) -> Face:
    """What to do better at the next placement."""
    return GUIDANCE.get(guidance, _REPOSE)


def tries_left(attempt: PassAttempt) -> int:
    """Placements that this attempt still has."""
    return HAND_TRIES - attempt.tries if attempt.method is PassMethod.HAND else 0


def _denial_face(attempt: PassAttempt) -> Face:
    if attempt.card_refusal is not None:
        return replace(_card_face(attempt.card_refusal), staff_note=f"card:{attempt.card_refusal.value}")
    if attempt.abandoned and attempt.reason in (Reason.GRANTED, Reason.FORCED):
        return _ABANDONED
    if attempt.guidance == QualityReason.DEVICE_LOST:
        return _PAUSED_READER
    face = DENIALS[attempt.reason or Reason.OUT_OF_SERVICE]
    return replace(face, staff_note=NO_ANSWER.staff_note) if attempt.late else face


def _card_face(refusal: CardRefusal) -> Face:
    if refusal in PRESENT_AGAIN:
        return _CARD_AGAIN
    return _NOT_THE_CARD if refusal in _NOT_THE_CARD_FOR else _CARD_NOT_HERE
