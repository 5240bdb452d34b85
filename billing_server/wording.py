"""What the staff reads for each value of the ledger: one French sentence each; a test counts that none is missing."""

from __future__ import annotations

from billing_server.accounts import AccountKind
from billing_server.alarms import AlarmKind
from billing_server.orders import LOST
from billing_server.refusals import WhyRefused
from billing_server.text import N_
from canteen.access_decision import Reason
from canteen.clock import ClockTrust
from canteen.consent import ConsentState, GivenBy
from canteen.entitlements import EntitlementKind
from canteen.hand_policy import HandPolicy
from canteen.meal_pass import PassMethod, PassOutcome
from sync.orders import DeviceRole, OrderKind, PurgeCause, PurgeScope

METHODS = {
    PassMethod.HAND: N_("Main"),
    PassMethod.CARD: N_("Carte"),
    PassMethod.VOUCHED: N_("Personnel"),
}

OUTCOMES = {
    PassOutcome.OPEN: N_("En cours"),
    PassOutcome.COMPLETED: N_("Passé"),
    PassOutcome.ABANDONED: N_("Renoncé"),
    PassOutcome.UNRESOLVED: N_("À vérifier"),
}

REASONS = {
    Reason.GRANTED: N_("Accordé"),
    Reason.FORCED: N_("Passage ouvert par le personnel"),
    Reason.HAND_NEEDED: N_("Main attendue"),
    Reason.OUT_OF_SERVICE: N_("Borne hors service"),
    Reason.CLOCK_UNTRUSTED: N_("Horloge de la borne douteuse"),
    Reason.UNKNOWN_CODE: N_("Code inconnu"),
    Reason.UNKNOWN_CARD: N_("Carte inconnue"),
    Reason.CARD_BLOCKED: N_("Carte bloquée"),
    Reason.OUTSIDE_SERVING_PERIOD: N_("En dehors du service"),
    Reason.NO_ENTITLEMENT_TODAY: N_("Pas de repas prévu ce jour"),
    Reason.NO_MEALS_LEFT: N_("Plus de repas payé d’avance"),
    Reason.ALREADY_SERVED: N_("Déjà servi à ce service"),
    Reason.CARD_REQUIRED: N_("Carte nécessaire"),
    Reason.REFERENCE_EXPIRED: N_("Gabarit expiré : le serveur n’a pas été joint"),
    Reason.HAND_NOT_READ: N_("Main non lue"),
    Reason.HAND_NOT_MATCHED: N_("Main non reconnue"),
    Reason.JOURNAL_UNAVAILABLE: N_("La borne ne peut rien enregistrer"),
    Reason.TOO_SLOW: N_("Délai dépassé"),
}

HAND_POLICIES = {
    HandPolicy.EASY: N_("Souple : vise un inconnu sur 100 (1 %)"),
    HandPolicy.USUAL: N_("Habituel : vise un inconnu sur 1 000 (0,1 %)"),
    HandPolicy.STRICT: N_("Strict : vise un inconnu sur 10 000 (0,01 %)"),
}

CONSENTS = {
    ConsentState.NONE: N_("Sans réponse"),
    ConsentState.GIVEN: N_("Accord"),
    ConsentState.OPPOSED: N_("Opposition"),
    ConsentState.WITHDRAWN: N_("Accord retiré"),
}

GIVEN_BY = {
    GivenBy.LEGAL_REPRESENTATIVE: N_("Représentant légal"),
    GivenBy.ADULT_PUPIL: N_("L’élève, majeur"),
}

ENTITLEMENTS = {
    EntitlementKind.FORFAIT_4_DAYS: N_("Forfait 4 jours"),
    EntitlementKind.FORFAIT_5_DAYS: N_("Forfait 5 jours"),
    EntitlementKind.EXTERNAL_MEAL: N_("Repas à l’unité"),
}

ROLES = {
    DeviceRole.TERMINAL: N_("Borne"),
    DeviceRole.STATION: N_("Poste d’enrôlement"),
}

ORDERS = {
    LOST: N_("ordre d’avant la restauration"),
    OrderKind.ROSTER: N_("liste des élèves"),
    OrderKind.CALENDAR: N_("calendrier"),
    OrderKind.BALANCES: N_("repas payés d’avance"),
    OrderKind.DEVICES: N_("liste des appareils"),
    OrderKind.CARD_ASSIGNED: N_("carte attribuée"),
    OrderKind.CARD_BLOCKED: N_("carte bloquée"),
    OrderKind.REFERENCE: N_("gabarit"),
    OrderKind.SEAL_AGAIN: N_("gabarits à sceller de nouveau"),
    OrderKind.LEASE: N_("bail"),
    OrderKind.PURGE: N_("effacement"),
    OrderKind.ENROLLMENT_ADVISED: N_("main à reprendre"),
}

ACCOUNTS = {
    AccountKind.PURCHASE: N_("Achat de repas"),
    AccountKind.MEAL: N_("Repas pris"),
    AccountKind.CORRECTION: N_("Correction"),
}

CLOCKS = {
    ClockTrust.TRUSTED: N_("à l’heure"),
    ClockTrust.UNCONFIRMED: N_("non confirmée"),
    ClockTrust.UNTRUSTED: N_("douteuse"),
}

CHECKS = {
    "cryptography": N_("chiffrement"),
    "store": N_("coffre des élèves"),
    "keys": N_("clés des boîtiers et des cartes"),
    "calendar": N_("calendrier"),
    "lease": N_("bail"),
    "journal": N_("journal"),
    "orders": N_("ordres en attente"),
    "line": N_("liaison"),
    "clock": N_("horloge"),
    "disk": N_("disque"),
    "camera": N_("lecteur de main"),
    "board": N_("boîtier"),
    "trays": N_("distributeur de plateaux"),
    "card-reader": N_("lecteur de cartes"),
}
"""The names of a device's checks; one that a newer program has is shown as it is."""

BOARD_KEYS = {
    "installed": N_("première clé installée"),
    "replaced": N_("clé remplacée"),
    "already": N_("clé déjà en place"),
    "no_device": N_("ligne absente ou occupée"),
    "silent": N_("personne n’a répondu"),
    "refused": N_("clé refusée"),
}
"""What became of a board's key; one that a newer program has is shown as it is."""

CAUSES = {
    PurgeCause.DEPARTURE: N_("Départ de l’établissement"),
    PurgeCause.DEREGISTRATION: N_("Désinscription de la demi-pension"),
    PurgeCause.OPPOSITION: N_("Opposition de la famille"),
    PurgeCause.WITHDRAWAL: N_("Retrait de l’accord"),
    PurgeCause.END_OF_SCHOOLING: N_("Fin de la scolarité"),
    PurgeCause.END_OF_YEAR: N_("Fin de l’année scolaire"),
}

SCOPES = {
    PurgeScope.REFERENCE: N_("Le gabarit de la main"),
    PurgeScope.EVERYTHING: N_("Toutes les données : main, code, cartes"),
}

ALARMS = {
    AlarmKind.GAP: N_("Des entrées manquent dans le journal"),
    AlarmKind.FORK: N_("Deux versions d’une même entrée du journal"),
    AlarmKind.NEW_GENERATION: N_("L’appareil a commencé un nouveau journal"),
    AlarmKind.BAD_SIGNATURE: N_("Signature fausse"),
    AlarmKind.MALFORMED_FACT: N_("Entrée signée mais incomprise, gardée telle quelle"),
    AlarmKind.NOT_ITS_FACT: N_("L’appareil a annoncé ce qui n’est pas de son rôle"),
    AlarmKind.UNKNOWN_PUPIL: N_("L’appareil parle d’un élève inconnu ou parti"),
    AlarmKind.DOUBLE_SERVICE: N_("Un élève servi à deux bornes au même service"),
    AlarmKind.PREPAID_OVERDRAWN: N_("Plus de repas pris que payés d’avance"),
    AlarmKind.PASS_REPEATED: N_("Un passage annoncé deux fois, compté une fois"),
    AlarmKind.OUTCOME_CONFLICT: N_("La suite d’un passage ne s’accorde pas avec lui"),
    AlarmKind.REFERENCE_DROPPED: N_("Gabarit non transmis à une borne"),
    AlarmKind.CARD_UNREADABLE: N_("Le numéro d’une carte n’a pas pu être lu"),
    AlarmKind.CARD_MOVED: N_("Une carte a changé d’élève"),
    AlarmKind.ORDER_REFUSED: N_("Un ordre a été refusé par l’appareil"),
    AlarmKind.DEVICE_RESTORED: N_("L’appareil a oublié des ordres déjà exécutés : ancienne carte mémoire ?"),
    AlarmKind.SERVER_RESTORED: N_(
        "Des ordres ou des passages ne sont plus connus ici : ancienne sauvegarde du serveur ?"
    ),
    AlarmKind.RECEIPT_MISMATCH: N_("Un reçu d’effacement ne correspond à aucune demande"),
    AlarmKind.PURGE_ASKED_AGAIN: N_("Un départ que la sauvegarde restaurée ne connaissait pas a été repris d’un reçu"),
    AlarmKind.PURGE_DUE_SOON: N_("Un effacement arrive à échéance"),
    AlarmKind.PURGE_OVERDUE: N_("Un effacement a dépassé son échéance"),
}

REFUSALS = {
    WhyRefused.GARBAGE: N_("Illisible"),
    WhyRefused.UNKNOWN_DEVICE: N_("Appareil inconnu"),
    WhyRefused.REVOKED: N_("Appareil révoqué"),
    WhyRefused.ANOTHERS_ENTRIES: N_("Entrées d’un autre appareil"),
    WhyRefused.BAD_SIGNATURE: N_("Signature fausse"),
    WhyRefused.NOT_STORED: N_("Base de données indisponible"),
    WhyRefused.TOO_BUSY: N_("Trop de messages en attente"),
    WhyRefused.UNHANDLED: N_("Erreur interne"),
}
