"""The words for reasons and states, in French; the English stands in `locale/`."""

from __future__ import annotations

from canteen.consent import ConsentState
from enrollment_station.enrollment import SAME_IMAGE
from enrollment_station.language import marked
from hand_geometry.quality import QualityReason

GOOD_PLACEMENT = marked("Bonne pose.")

PLACEMENTS: dict[str, str] = {
    QualityReason.NO_HAND: marked("Aucune main n’est visible : pose-la bien à plat, au milieu."),
    QualityReason.FINGERS_CLOSED: marked("Les doigts se touchent : écarte-les bien."),
    QualityReason.FINGER_MISSING: marked("Il manque un doigt : pose les cinq bien à plat."),
    QualityReason.HAND_CUT_OFF: marked("La main sort de l’image : pose-la au milieu, manche relevée."),
    QualityReason.WRONG_HAND: marked("Ce n’est pas la même main : pose l’autre."),
    QualityReason.BLURRED: marked("L’image est floue : ne bouge plus un instant."),
    QualityReason.UNREADABLE_IMAGE: marked("Ce fichier n’est pas une image lisible (JPEG ou PNG)."),
    QualityReason.SAMPLES_DISAGREE: marked(
        "Les trois poses ne se ressemblent pas assez : refais celle qui est marquée."
    ),
    QualityReason.TOO_FEW_SAMPLES: marked("Il faut trois poses de la même main."),
    QualityReason.IMPLAUSIBLE_MEASUREMENT: marked(
        "La main n’a pas pu être mesurée : repose-la bien à plat, sans bague et manche relevée."
    ),
    QualityReason.DEVICE_LOST: marked("Le lecteur ne répond plus : vérifiez son câble."),
    QualityReason.CANCELLED: marked("La pose a été annulée."),
    SAME_IMAGE: marked("Deux poses sont la même image : enlève ta main entre deux, puis repose-la."),
}
"""What a pupil can do better, by the reason of a placement or of an enrolment."""

ALL_DISAGREE = marked("Les trois poses ne se ressemblent pas assez : recommence les trois, avec la même main.")

NO_CONSENT: dict[ConsentState, str] = {
    ConsentState.NONE: marked("Aucun consentement n’est enregistré pour cet élève : sa main ne peut pas être prise."),
    ConsentState.OPPOSED: marked(
        "La famille s’est opposée : la main ne peut pas être prise. L’élève passe avec sa carte."
    ),
    ConsentState.WITHDRAWN: marked(
        "Le consentement a été retiré : la main ne peut pas être prise. L’élève passe avec sa carte."
    ),
}

PUPIL_NOT_FOUND = marked("Cet élève n’est pas, ou plus, dans la liste de l’établissement.")
UNAVAILABLE = marked(
    "La station ne peut pas enregistrer en ce moment (disque plein ou fichier illisible). Rien n’a été gardé."
)
NOT_FOUND = marked("Cette page n’existe pas.")
WRONG_REQUEST = marked("La demande n’est pas comprise.")
NOT_GIVEN_BY = marked("Indiquez qui a signé : représentant légal, ou élève majeur.")
NOT_A_DATE = marked("La date du formulaire n’est pas lisible.")
