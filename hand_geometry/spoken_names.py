"""What the values of this package are called where a person reads them: in reports and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from canteen.command_line import session_language
from hand_geometry.landmarks import Finger
from hand_geometry.language import N_, words_in
from hand_geometry.mask import Mask
from hand_geometry.posture import Posture
from hand_geometry.quality import QualityReason
from hand_geometry.silhouette import Platen

_NAMES: Mapping[StrEnum, str] = {
    Platen.DARK: N_("fond sombre"),
    Platen.LIGHT: N_("papier blanc"),
    Platen.BACKLIT: N_("fond éclairé par derrière"),
    Platen.SILHOUETTE: N_("silhouettes en noir et blanc"),
    Posture.GUIDED: N_("entre des ergots"),
    Posture.FREE: N_("libre"),
    QualityReason.NO_HAND: N_("pas de main"),
    QualityReason.FINGERS_CLOSED: N_("doigts fermés"),
    QualityReason.FINGER_MISSING: N_("un doigt manque"),
    QualityReason.HAND_CUT_OFF: N_("main coupée par le bord"),
    QualityReason.WRONG_HAND: N_("l’autre main"),
    QualityReason.UNREADABLE_IMAGE: N_("image illisible"),
    QualityReason.SAMPLES_DISAGREE: N_("images qui ne montrent pas la même main"),
    QualityReason.TOO_FEW_SAMPLES: N_("trop peu d’images"),
    QualityReason.IMPLAUSIBLE_MEASUREMENT: N_("mesures qu’aucune main n’a"),
    QualityReason.FLAT_THING: N_("chose plate, pas une main"),
    QualityReason.EVEN_HEIGHT: N_("partout la même hauteur, pas une main"),
    QualityReason.WEB_HIDDEN: N_("creux entre deux doigts caché"),
    QualityReason.DEVICE_LOST: N_("lecteur perdu"),
    QualityReason.CANCELLED: N_("abandonné"),
}
_FINGERS: Mapping[Finger, str] = {
    Finger.THUMB: N_("pouce"),
    Finger.INDEX: N_("index"),
    Finger.MIDDLE: N_("majeur"),
    Finger.RING: N_("annulaire"),
    Finger.LITTLE: N_("auriculaire"),
}


def name_of(value: StrEnum, language: str | None = None) -> str:
    """What a value is called in this language, or in the session's."""
    return words_in(language or session_language())(_NAMES[value])


def left_out_by(mask: Mask) -> str:
    """The fingers that a mask leaves out, in the session's language."""
    words = words_in(session_language())
    return " + ".join(words(_FINGERS[finger]) for finger in sorted(mask.left_out)) or words(N_("aucun"))
