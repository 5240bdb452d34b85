"""`canteen-terminal calibrate`: the camera finds the printed sheet, and what it learnt is kept for the terminal."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

from canteen.command_line import session_language
from canteen.errors import CanteenError
from hand_geometry.errors import HandGeometryError
from hand_geometry.kept_calibration import keep_calibration, load_calibration
from hand_geometry.mirror_set_up import FARTHEST_GAP_MM, MirrorEdge, shows_a_mark, told_before
from hand_geometry.platen import PlatenCalibration, SheetFinding
from hand_geometry.platen_sheet import PAPERS
from terminal.assembly import open_camera
from terminal.calibration import NoPictures, SheetNotFound, measure, measure_height
from terminal.configuration import read_configuration
from terminal.display.language import _, said_in

_NOT_FOUND = _("La feuille ne se voit pas assez : la poser à plat, bien éclairée, sans rien dessus, et recommencer")
_NO_PICTURES = _("La caméra ne donne pas d’image : arrêter la borne d’abord, ou vérifier le câble")
_NO_HEIGHT = _(
    "Sans hauteur, une main paraît un peu plus grande qu’elle n’est : poser le bloc et donner --block, ou --height"
)
_FIRST_THE_SHEET = _("Étalonner d’abord sur la feuille, sans --block")
_NO_BLOCK = _("L’étiquette du bloc ne se voit pas : poser le bloc de 40 mm sur la feuille, étiquette vers la caméra")
_NO_SIDE = _(
    "Le bloc ne se voit pas dans le miroir : vérifier --mirror et --mirror-gap, et tourner un long côté clair du bloc "
    "vers le miroir"
)
_MIRROR = _("Miroir penché de {lean}° : la hauteur des mains est mesurée")
_NOW_THE_BLOCK = _("Avec un miroir, poser maintenant le bloc et donner --block : sans lui, le miroir ne sert pas")
_NOT_BOTH = _("Avec --mirror, ni --height ni --block : d’abord la feuille, puis le bloc donne la hauteur")
_KEPT = _("Miroir gardé : bord {edge}, à {gap} mm de la feuille ; --mirror none s’il a été ôté")
_HAD_A_MIRROR = _(
    "Ce lecteur avait un miroir (bord {edge}, à {gap} mm) : donner --mirror et --mirror-gap, sans --height, ou "
    "--mirror none s’il a été ôté"
)
_LOST = _("L’étalonnage d’avant est illisible : si ce lecteur a un miroir, recommencer avec --mirror")
_NO_MARK = _(
    "Rien de clair ne se voit dans le miroir : un cache sombre ne serait remarqué qu’en service. Coller une bande "
    "blanche debout en face du miroir, au-delà du bout des doigts, et étalonner de nouveau"
)
_GAP_ALONE = _("--mirror-gap va avec --mirror")
_NO_MIRROR = "none"
_HEIGHT = _("Caméra à {height} mm du plateau. Gardé dans {path}")
_FOUND = _("Feuille trouvée : {markers} repères, à {residual} px près, {scale} px par mm. Gardé dans {path}")
_RESTART = _("Redémarrer la borne. Les mains prises avant avec un autre étalonnage sont à reprendre")
_HIGHEST_MM = 3000.0


def main(argv: list[str]) -> int:
    """0 where the calibration is kept, 1 where it is not."""
    language = session_language()
    parser = argparse.ArgumentParser(
        prog="canteen-terminal calibrate",
        description=said_in(
            language, _("Étalonner le lecteur de main sur la feuille imprimée (canteen-platen sheet).")
        ),
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--paper", choices=tuple(PAPERS), default="a4")
    parser.add_argument(
        "--height", type=_height_mm, metavar="MM", help=said_in(language, _("De l’objectif au plateau, en mm"))
    )
    parser.add_argument(
        "--block",
        action="store_true",
        help=said_in(
            language, _("Mesurer la hauteur sur le bloc étiqueté (canteen-platen label), feuille déjà connue")
        ),
    )
    parser.add_argument(
        "--mirror",
        choices=(*(edge.value for edge in MirrorEdge), _NO_MIRROR),
        help=said_in(
            language,
            _("Bord de la feuille où se tient un miroir ; lower : celui de la ligne de 100 mm ; none : il a été ôté"),
        ),
    )
    parser.add_argument(
        "--mirror-gap",
        type=_gap_mm,
        metavar="MM",
        help=said_in(language, _("Du bord de la feuille au pied du miroir, en mm")),
    )
    arguments = parser.parse_args(argv)
    has_mirror = arguments.mirror not in (None, _NO_MIRROR)
    if has_mirror and (arguments.height is not None or arguments.block):
        parser.error(said_in(language, _NOT_BOTH))
    if arguments.mirror_gap is not None and not has_mirror:
        parser.error(said_in(language, _GAP_ALONE))
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        configuration = read_configuration(arguments.config)
        before = load_calibration(configuration.calibration)
        if arguments.block and before is None:
            sys.stderr.write(said_in(language, _FIRST_THE_SHEET) + "\n")
            return 1
        lost = before is None and configuration.calibration.exists() and arguments.mirror is None
        mirror, kept = None, ""
        if has_mirror:
            mirror = MirrorEdge(arguments.mirror), arguments.mirror_gap or 0.0
        elif before is not None and before.mirror is not None and arguments.mirror is None and not arguments.block:
            paper, mirror = told_before(before)
            kept = _with_mirror(said_in(language, _KEPT), mirror)
            if paper != arguments.paper or arguments.height is not None:
                sys.stderr.write(_with_mirror(said_in(language, _HAD_A_MIRROR), mirror) + "\n")
                return 1
        camera = open_camera(configuration.camera, time.monotonic, production=configuration.production)
        try:
            if before is not None and arguments.block:
                calibration = measure_height(camera, before)
            else:
                calibration = measure(camera, arguments.paper, arguments.height, mirror)
        finally:
            camera.close()
        keep_calibration(calibration, configuration.calibration)
    except (CanteenError, HandGeometryError, OSError) as error:
        sys.stderr.write(_why(error, language, block=arguments.block) + "\n")
        return 1
    told = [kept] if kept else [said_in(language, _LOST)] if lost else []
    lines = _said(calibration, configuration.calibration, language, block=arguments.block)
    sys.stdout.write("\n".join([*told, *lines]) + "\n")
    return 0


def _with_mirror(sentence: str, mirror: tuple[MirrorEdge, float] | None) -> str:
    edge, gap = ("", 0.0) if mirror is None else mirror
    return sentence.replace("{edge}", edge).replace("{gap}", f"{gap:.0f}")


def _height_mm(text: str) -> float:
    height = float(text)
    if not 50.0 <= height <= _HIGHEST_MM:
        raise argparse.ArgumentTypeError(text)
    return height


def _gap_mm(text: str) -> float:
    gap = float(text)
    if not 0.0 <= gap <= FARTHEST_GAP_MM:
        raise argparse.ArgumentTypeError(text)
    return gap


def _said(calibration: PlatenCalibration, path: Path, language: str, *, block: bool) -> list[str]:
    seen = int((calibration.contrast > 0).sum())
    found = said_in(language, _HEIGHT if block else _FOUND)
    for name, value in (
        ("height", f"{calibration.camera_height_mm or 0:.0f}"),
        ("markers", str(seen)),
        ("residual", f"{calibration.residual_px:.2f}"),
        ("scale", f"{calibration.px_per_mm:.2f}"),
        ("path", str(path)),
    ):
        found = found.replace("{" + name + "}", value)
    lines = [found]
    if calibration.mirror is not None:
        lean = f"{calibration.mirror.lean_deg:.1f}"
        lines.append(said_in(language, _MIRROR if block else _NOW_THE_BLOCK).replace("{lean}", lean))
        if block and not shows_a_mark(calibration):
            lines.append(said_in(language, _NO_MARK))
    elif calibration.camera_height_mm is None:
        lines.append(said_in(language, _NO_HEIGHT))
    return [*lines, said_in(language, _RESTART)]


def _why(error: Exception, language: str, *, block: bool) -> str:
    if isinstance(error, SheetNotFound) and error.finding is SheetFinding.NOT_SEEN:
        return said_in(language, _NO_BLOCK if block else _NOT_FOUND)
    if isinstance(error, SheetNotFound) and error.finding is SheetFinding.MIRROR_NOT_SEEN:
        return said_in(language, _NO_SIDE)
    return said_in(language, _NO_PICTURES) if isinstance(error, NoPictures) else str(error)
