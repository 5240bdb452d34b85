"""The words for reasons and states, in French; the English stands in `locale/`."""

from __future__ import annotations

from canteen.consent import ConsentState
from enrollment_station.enrollment import OTHER_READER, SAME_IMAGE
from enrollment_station.language import marked
from hand_geometry.platen import SheetFinding
from hand_geometry.quality import Finding, QualityReason

GOOD_PLACEMENT = marked("Bonne pose.")

PLACEMENTS: dict[str, str] = {
    QualityReason.NO_HAND: marked("Aucune main n’est visible : pose-la bien à plat, au milieu."),
    QualityReason.FINGERS_CLOSED: marked("Les doigts se touchent : écarte-les bien."),
    QualityReason.FINGER_MISSING: marked("Il manque un doigt : pose les cinq bien à plat."),
    QualityReason.HAND_CUT_OFF: marked("La main sort de l’image : pose-la au milieu, manche relevée."),
    QualityReason.WRONG_HAND: marked("Ce n’est pas la même main : pose l’autre."),
    QualityReason.UNREADABLE_IMAGE: marked("Ce fichier n’est pas une image lisible (JPEG ou PNG)."),
    QualityReason.SAMPLES_DISAGREE: marked(
        "Les trois poses ne se ressemblent pas assez : refais celle qui est marquée."
    ),
    QualityReason.TOO_FEW_SAMPLES: marked("Il faut trois poses de la même main."),
    QualityReason.IMPLAUSIBLE_MEASUREMENT: marked(
        "La main n’a pas pu être mesurée : repose-la bien à plat, sans bague et manche relevée."
    ),
    QualityReason.FLAT_THING: marked(
        "Le miroir ne montre rien d’épais : pose ta main seule, bien à plat. Si elle l’est déjà, essuyez le miroir."
    ),
    QualityReason.EVEN_HEIGHT: marked(
        "Le miroir montre partout la même hauteur, ce qu’aucune main n’a : pose ta main seule, bien à plat. "
        "Si elle l’est déjà, essuyez le miroir et ôtez ce qui est clair en face de lui."
    ),
    QualityReason.WEB_HIDDEN: marked(
        "On ne voit pas bien entre deux doigts : écarte-les plus, et enlève ta bague si tu peux. "
        "Si c’est une ombre, changez la lampe de place."
    ),
    QualityReason.DEVICE_LOST: marked("Le lecteur ne répond plus : vérifiez son câble."),
    QualityReason.CANCELLED: marked("La pose a été annulée."),
    OTHER_READER: marked(
        "La feuille du plateau n’est pas à sa place dans l’image : le lecteur a bougé, ou c’est une autre caméra. "
        "Étalonnez-le de nouveau (page « Lecteur de main »)."
    ),
    SAME_IMAGE: marked("Deux poses sont la même image : enlève ta main entre deux, puis repose-la."),
}
"""What a pupil can do better, by the reason of a placement or of an enrolment."""

FINDINGS: dict[Finding | None, str] = {
    Finding.FINGERS_TOUCHING: marked("Ces deux doigts se touchent : écarte-les, puis repose ta main."),
    Finding.FINGER_MISSING: marked("Il manque un doigt : pose les cinq bien à plat."),
    Finding.HAND_TOO_FAR_IN: marked("Le bout des doigts sort de l’image : recule un peu ta main."),
    Finding.HAND_TOO_FAR_OUT: marked("La paume sort de l’image : avance un peu ta main."),
    Finding.SLEEVE: marked("La manche ou un bracelet couvre le poignet : relève-la, puis repose ta main."),
    Finding.RING: marked("Une bague gêne la mesure : enlève-la si tu peux, puis repose ta main."),
    Finding.BLURRED: marked("L’image est floue : ne bouge plus un instant."),
    Finding.GLARE: marked("Il y a un reflet à cet endroit : bouge un peu ta main, ou éteignez la lampe d’à côté."),
    Finding.DIRTY_PLATEN: marked("Le plateau est sale : essuyez-le."),
}
"""The same, nearer, where the picture shows it; what is missing here is said by the reason."""

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

SHEET_FAULTS: dict[SheetFinding, str] = {
    SheetFinding.NOT_SEEN: marked(
        "La feuille ne se voit pas assez : posez-la à plat, bien éclairée, sans rien dessus, puis recommencez."
    ),
    SheetFinding.MOVED: marked("La feuille ou la caméra a bougé : remettez-la, ou étalonnez de nouveau."),
    SheetFinding.COVERED: marked("Quelque chose cache la feuille à l’endroit montré."),
    SheetFinding.DIRTY: marked("La feuille est sale à l’endroit montré : essuyez-la."),
    SheetFinding.MIRROR_DIRTY: marked("Le miroir est sale ou couvert à l’endroit montré : essuyez-le, dégagez-le."),
    SheetFinding.MIRROR_NOT_SEEN: marked(
        "Le bloc ne se voit pas dans le miroir : vérifiez le bord et la distance indiqués, et tournez un long côté "
        "clair du bloc vers le miroir."
    ),
}
SHEET_IN_ORDER = marked("La feuille est à sa place, propre et bien visible.")
NOT_CALIBRATED = marked("Ce lecteur n’a encore jamais été étalonné.")
CALIBRATED = marked("Lecteur étalonné : {markers} repères trouvés, à {residual} px près.")
BLOCK_MEASURED = marked("Caméra à {height} mm du plateau.")
MIRROR_MEASURED = marked("Caméra à {height} mm du plateau, miroir penché de {lean}° : les hauteurs sont mesurées.")
BLOCK_NOT_SEEN = marked(
    "L’étiquette du bloc ne se voit pas : posez le bloc de 40 mm sur la feuille, étiquette vers la caméra."
)
NOW_THE_BLOCK = marked("Posez maintenant le bloc et mesurez-le : sans lui, le miroir ne sert pas encore.")
NO_MARK_IN_MIRROR = marked(
    "Rien de clair ne se voit dans le miroir : un cache sombre ne se remarquerait pas. Collez une bande blanche debout "
    "en face du miroir, au-delà du bout des doigts, et étalonnez de nouveau."
)
MIRROR_FORGOTTEN = marked("Le miroir n’est plus pris en compte : s’il est toujours là, indiquez-le et recommencez.")
NOT_A_GAP = marked("De la feuille au pied du miroir, il y a un nombre de millimètres entre 0 et 100.")
BLOCK_WITH_MIRROR = marked(
    "Avec un miroir, laissez la hauteur vide : le bloc la donnera, avec l’inclinaison du miroir."
)
NOT_A_HEIGHT = marked("La hauteur de la caméra est un nombre de millimètres entre 50 et 3000, ou rien.")

PUPIL_NOT_FOUND = marked("Cet élève n’est pas, ou plus, dans la liste de l’établissement.")
UNAVAILABLE = marked(
    "La station ne peut pas enregistrer en ce moment (disque plein ou fichier illisible). Rien n’a été gardé."
)
NOT_FOUND = marked("Cette page n’existe pas.")
WRONG_REQUEST = marked("La demande n’est pas comprise.")
NOT_GIVEN_BY = marked("Indiquez qui a signé : représentant légal, ou élève majeur.")
NOT_A_DATE = marked("La date du formulaire n’est pas lisible.")
