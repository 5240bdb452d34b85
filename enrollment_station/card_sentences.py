"""What the operator reads about a card: where it stopped, and what to do next. French; the English is in `locale/`."""

from __future__ import annotations

from enrollment_station.encoding import Whose
from enrollment_station.language import marked
from enrollment_station.station_reader import ISSUING, WAITING
from firmware_bridge.card_encoding import EncodingStep, EncodingStop
from firmware_bridge.devices import CardRefusal, ReaderLossReason

STEPS: dict[str, str] = {
    WAITING: marked("Poser la carte"),
    EncodingStep.IDENTIFY: marked("Reconnaître la puce"),
    EncodingStep.OWN_CHIP: marked("Prendre la puce en charge"),
    EncodingStep.FORMAT: marked("Vider la carte"),
    EncodingStep.APPLICATION: marked("Créer l’espace de l’école"),
    EncodingStep.KEYS: marked("Poser les clés"),
    EncodingStep.FILE: marked("Créer le fichier"),
    EncodingStep.WRITE: marked("Écrire le numéro"),
    EncodingStep.VERIFY: marked("Relire comme une borne"),
    EncodingStep.RELEASE_CHIP: marked("Libérer la puce"),
    ISSUING: marked("Donner la carte à l’élève"),
}
ENCODING_STEPS = (
    WAITING,
    EncodingStep.IDENTIFY,
    EncodingStep.OWN_CHIP,
    EncodingStep.APPLICATION,
    EncodingStep.KEYS,
    EncodingStep.FILE,
    EncodingStep.WRITE,
    EncodingStep.VERIFY,
    ISSUING,
)
WIPING_STEPS = (
    WAITING,
    EncodingStep.IDENTIFY,
    EncodingStep.OWN_CHIP,
    EncodingStep.FORMAT,
    EncodingStep.RELEASE_CHIP,
)
CHECKING_STEPS = (WAITING, EncodingStep.VERIFY)
TAKING_STEPS = (WAITING, EncodingStep.IDENTIFY, ISSUING)

STOPPED = marked("Arrêt à l’étape « {step} » : {why}")

STOPS: dict[EncodingStop, str] = {
    EncodingStop.TORN_AWAY: marked(
        "la carte a été retirée trop tôt. Reposez la même carte et recommencez : elle sera réparée."
    ),
    EncodingStop.NOT_DESFIRE: marked(
        "ce n’est pas une carte DESFire (transport, banque, téléphone…). Rien n’a été changé : "
        "prenez une carte de l’école."
    ),
    EncodingStop.RANDOM_UID: marked("cette puce cache son numéro. Rien n’a été changé : prenez une autre carte."),
    EncodingStop.FOREIGN_CHIP: marked(
        "la puce est à quelqu’un d’autre : autre établissement, ou ancien secret. Rien n’a été changé : "
        "prenez une autre carte."
    ),
    EncodingStop.FOREIGN_APPLICATION: marked(
        "la carte a été faite avec un ancien secret. Effacez-la, puis encodez-la de nouveau."
    ),
    EncodingStop.FULL: marked("la carte n’a plus de place. Effacez-la, puis encodez-la de nouveau."),
    EncodingStop.FAILED: marked(
        "la carte a répondu par une erreur. Reposez la même carte et recommencez : elle sera réparée. "
        "Si cela revient, prenez une autre carte."
    ),
}

REFUSALS: dict[CardRefusal, str] = {
    CardRefusal.NOT_DESFIRE: marked("Ce n’est pas une carte DESFire (transport, banque, téléphone…)."),
    CardRefusal.NOT_ENCODED: marked("Cette carte est vierge : elle n’est pas encodée. Encodez-la."),
    CardRefusal.COPIED_UID: marked("Cette carte imite le numéro d’une autre : gardez-la, et demandez d’où elle vient."),
    CardRefusal.RANDOM_UID: marked("Cette puce cache son numéro : prenez une autre carte."),
    CardRefusal.WRONG_KEY: marked(
        "Cette carte est encodée avec d’autres clés : autre établissement, ou ancien secret. "
        "Une borne la refuse : prenez une autre carte."
    ),
    CardRefusal.OTHER_SCHOOL: marked(
        "Cette carte est celle d’un autre établissement : rien n’a été changé. Rendez-la, et prenez-en une autre."
    ),
    CardRefusal.REPLAYED_SESSION: marked(
        "Cette carte n’a pas pu prouver qu’elle est vraie : gardez-la, et demandez d’où elle vient."
    ),
    CardRefusal.SPOILED_SESSION: marked(
        "La lecture a été brouillée. Reposez la carte et recommencez ; si cela revient, changez le lecteur de place."
    ),
    CardRefusal.NOT_GENUINE: marked(
        "Le contenu de cette carte n’a pas été écrit pour elle : gardez-la, et demandez d’où elle vient."
    ),
    CardRefusal.HALF_WRITTEN: marked(
        "L’encodage de cette carte a été interrompu : encodez-la de nouveau, elle sera réparée."
    ),
    CardRefusal.UNKNOWN_FORMAT: marked(
        "Cette carte a été faite par une version plus récente : mettez la station à jour."
    ),
    CardRefusal.TORN_AWAY: marked("La carte a été retirée trop tôt. Reposez-la et recommencez."),
    CardRefusal.UNREADABLE: marked(
        "Le lecteur ne comprend pas cette carte. Reposez-la ; si cela revient, essayez une autre carte, "
        "puis un autre lecteur."
    ),
}

SEEN: dict[Whose, str] = {
    Whose.THIS_PUPILS: marked("C’est la carte de cet élève, et elle est bonne."),
    Whose.ANOTHERS: marked("La carte est bonne, mais c’est celle d’un autre élève."),
    Whose.BLOCKED: marked("La carte est bonne, mais son numéro est bloqué : elle n’ouvre pas."),
    Whose.NOBODYS: marked("La carte est bonne, mais elle n’est donnée à personne."),
}

HELD_BACK_FROM_ENCODING: dict[Whose, str] = {
    Whose.ANOTHERS: marked(
        "Cette carte est celle d’un autre élève : rien n’a été changé. Rendez-la-lui, ou reprenez-la pour cet élève."
    ),
    Whose.BLOCKED: marked(
        "Le numéro de cette carte est bloqué (perdue, rendue ou reprise) : rien n’a été changé. "
        "Il le reste ; reprise, la carte en reçoit un nouveau."
    ),
}
HELD_BACK_FROM_WIPING = marked(
    "Cette carte est celle d’un autre élève : rien n’a été effacé. Effacez-la depuis la page de cet élève."
)

CARD_GIVEN = marked("Carte encodée et donnée : elle ouvre aux bornes dans un instant.")
CARD_KEPT = marked("Cette carte était déjà la sienne, et elle est bonne : elle garde son numéro.")
CARD_TAKEN_OVER = marked(
    "Carte reprise et donnée, avec un nouveau numéro. L’ancien n’est plus sur aucune carte : "
    "bloquez-le à la page de l’intendance."
)
UID_TAKEN = marked("Carte lue et donnée : elle ouvre aux bornes dans un instant.")
CARD_WIPED = marked(
    "Carte effacée : elle est vierge, et peut être encodée de nouveau. "
    "Si elle avait un numéro, bloquez-le aussi à la page de l’intendance."
)

NO_CARD = marked(
    "Aucune carte n’est restée sur le lecteur en {seconds} secondes. Posez-la au milieu, puis recommencez."
)
WAIT_CANCELLED = marked("Annulé : aucune carte n’a été touchée.")
BUSY = marked("Le lecteur sert en ce moment à {operator}. Attendez que sa carte soit finie, puis recommencez.")
READERS: dict[ReaderLossReason, str] = {
    ReaderLossReason.NO_SERVICE: marked(
        "Le service des lecteurs de cartes (pcscd) ne répond pas : demandez à l’administrateur de le démarrer."
    ),
    ReaderLossReason.NO_READER: marked("Aucun lecteur de cartes n’est branché : branchez-le, puis recommencez."),
    ReaderLossReason.STUCK: marked(
        "Le lecteur de cartes ne répond plus : débranchez-le, rebranchez-le, puis reposez la même carte. "
        "Rien n’a été enregistré."
    ),
}

NOT_ENCODED_HERE = marked("Cette station n’encode pas de cartes : voyez [cards] dans sa configuration.")
ONLY_ENCODED_HERE = marked("Ici, les cartes sont encodées : posez-la sur le lecteur au lieu de taper un numéro.")
