"""The sheet that lies on the platen: fiducials round its border, outlines for both hands; printed from vector PDF.

The ground is black, so that a hand of every tone is brighter. The fiducials stand round the hand, none at the wrist;
on A4 a thumb may cover one, which then stays part of the picture. ``canteen-platen sheet --paper a4 --out FILE.pdf``
writes it; print it at 100 %, matt.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from canteen.command_line import console_script
from hand_geometry.language import _, trouble

# Markers of four by four bits are the coarsest, so they are read from a picture of 1600 pixels with room to spare.
DICTIONARY = cv2.aruco.DICT_4X4_50
MODULES = 6
MARKER_MM = 13.5
# A marker is black on white: without a white rim it does not part from the black sheet.
RIM_MM = 2.25
# Printers leave this much of a page blank.
MARGIN_MM = 6.0
GROUND_GREY = 0.06
OUTLINE_GREY = 0.22
POINTS_PER_MM = 72.0 / 25.4

# A hand 187 mm long from wrist to fingertip: where fingers leave the palm, their lengths, half-widths and directions.
_BASES_MM = ((40.0, 33.0), (97.0, 31.5), (103.0, 10.0), (98.0, -11.5), (86.0, -32.0))
_FINGERS_MM = ((80.0, 10.5), (73.0, 9.0), (83.0, 9.0), (78.0, 8.5), (59.0, 7.5))
_ANGLES_DEG = (39.0, 8.5, 0.5, -7.5, -19.0)
_PALM_MM = ((-12.0, 28.0), (18.0, 36.0), (56.0, 42.0), (99.0, 40.0), (106.0, 0.0), (88.0, -40.0), (40.0, -41.0),
            (-12.0, -28.0))  # fmt: skip
_DRAWN_AT = 4


@dataclass(frozen=True)
class Paper:
    """A size of paper, landscape, and how many markers stand along its long and short sides."""

    name: str
    width_mm: float
    height_mm: float
    along: int
    down: int


LABEL = Paper("label", 120.0, 80.0, 2, 2)
LABEL_FIRST = 40
# As high as the label lies over the sheet: the higher, the more exact, but it must stay in sight.
BLOCK_MM = 40.0
PAPERS = {"a4": Paper("a4", 297.0, 210.0, 7, 3), "a3": Paper("a3", 420.0, 297.0, 9, 5)}


@dataclass(frozen=True, eq=False)
class PlatenSheet:
    """What is printed where, in mm from the upper left corner of the paper, y downwards.

    Attributes:
        paper: The paper.
        markers: (n, 4, 2) float64, corners of each marker, clockwise from its upper left.
        first: The number of the first marker; the others follow.
        has_outlines: Whether hands are drawn on it.
    """

    paper: Paper
    markers: NDArray[np.float64] = field(repr=False)
    first: int = 0
    has_outlines: bool = True

    def outlines(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Polygons of a right and of a left hand, palms down or up as the reader looks, fingers to the left."""
        right = _hand_outline()
        wrist = np.array([self.paper.width_mm - 20.0, self.paper.height_mm / 2.0])
        return wrist - right, wrist - right * np.array([1.0, -1.0])


def platen_sheet(paper: str) -> PlatenSheet:
    """The sheet for ``a4`` or ``a3``.

    Raises:
        ValueError: Another paper.
    """
    if paper not in PAPERS:
        raise ValueError(f"no paper {paper}; known are {', '.join(PAPERS)}")
    size = PAPERS[paper]
    first = MARGIN_MM + RIM_MM + MARKER_MM / 2.0
    columns = np.linspace(first, size.width_mm - first, size.along)
    rows = np.linspace(first, size.height_mm - first, size.down + 2)
    centres = [(x, rows[0]) for x in columns] + [(x, rows[-1]) for x in columns] + [(columns[0], y) for y in rows[1:-1]]
    half = MARKER_MM / 2.0
    square = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    return PlatenSheet(size, np.array([np.array(centre) + square for centre in centres]))


def block_label() -> PlatenSheet:
    """The label for a block 40 mm high, from which the camera's height over the sheet is measured."""
    x, y = LABEL.width_mm, LABEL.height_mm
    edge = MARGIN_MM + RIM_MM + MARKER_MM / 2.0
    half = MARKER_MM / 2.0
    square = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    centres = [(edge, edge), (x - edge, edge), (x - edge, y - edge), (edge, y - edge)]
    return PlatenSheet(LABEL, np.array([np.array(one) + square for one in centres]), LABEL_FIRST, has_outlines=False)


def marker_bits(number: int) -> NDArray[np.bool_]:
    """(6, 6) bool, True where the marker is black, its border included."""
    image = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(DICTIONARY), number, MODULES)
    return np.asarray(image < 128, dtype=np.bool_)


def draw_sheet(sheet: PlatenSheet, px_per_mm: float) -> NDArray[np.uint8]:
    """The printed sheet seen straight on, (H, W) uint8: for the simulation and for previews."""
    size = (round(sheet.paper.height_mm * px_per_mm), round(sheet.paper.width_mm * px_per_mm))
    drawn = np.full(size, round(255 * GROUND_GREY), dtype=np.uint8)

    def fill(corners_mm: NDArray[np.float64], grey: int) -> None:
        cv2.fillConvexPoly(drawn, np.rint(corners_mm * px_per_mm * 16 - 8).astype(np.int32), grey, cv2.LINE_AA, 4)

    for outline in sheet.outlines() if sheet.has_outlines else ():
        line = np.rint(outline * px_per_mm * 16).astype(np.int32)
        cv2.polylines(drawn, [line], True, round(255 * OUTLINE_GREY), max(1, round(0.4 * px_per_mm)), cv2.LINE_AA, 4)
    for number, corners in enumerate(sheet.markers, start=sheet.first):
        fill(_rim(corners), 235)
        for cell in _black_cells(number, corners):
            fill(cell, round(255 * GROUND_GREY))
    return drawn


def sheet_pdf(sheet: PlatenSheet) -> bytes:
    """The sheet as a PDF of one page, vectors only; it asks viewers not to fit it to the paper (ISO 32000-1, 12.2)."""
    height = sheet.paper.height_mm
    lines: list[str] = []

    def polygon(points_mm: NDArray[np.float64]) -> str:
        steps = [f"{x * POINTS_PER_MM:.3f} {(height - y) * POINTS_PER_MM:.3f}" for x, y in points_mm]
        return f"{steps[0]} m " + " ".join(f"{step} l" for step in steps[1:]) + " h"

    width, tall = sheet.paper.width_mm * POINTS_PER_MM, height * POINTS_PER_MM
    lines.append(f"{GROUND_GREY} g 0 0 {width:.3f} {tall:.3f} re f")
    lines.append(f"{OUTLINE_GREY} G 1.1 w")
    if sheet.has_outlines:
        right, left = sheet.outlines()
        lines += [f"[] 0 d {polygon(right)} S", f"[5 3] 0 d {polygon(left)} S"]
    for number, corners in enumerate(sheet.markers, start=sheet.first):
        lines.append(f"1 g {polygon(_rim(corners))} f")
        # One path for all cells of a marker: seams between neighbours would show as hairlines.
        lines.append(f"{GROUND_GREY} g " + " ".join(polygon(cell) for cell in _black_cells(number, corners)) + " f")
    # A line of 100 mm to hold a ruler against: printers like to shrink pages.
    left_mm = min(height - 60.0, (sheet.paper.width_mm - 100.0) / 2.0)
    ruler = np.array([[left_mm, height - 30.0], [left_mm + 100.0, height - 30.0]])
    lines.append(f"[] 0 d 0.5 G 0.8 w {polygon(ruler)} S")
    where = f"{left_mm * POINTS_PER_MM:.2f} {32.0 * POINTS_PER_MM:.2f}"
    lines.append(f"BT /F1 8 Tf 0.5 g {where} Td (100 mm - imprimer \\340 100 %, papier mat) Tj ET")
    content = "\n".join(lines).encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.3f} {tall:.3f}] /Contents 4 0 R "
            "/Resources << /Font << /F1 5 0 R >> >> >>"
        ).encode("ascii"),
        b"<< /Length %d >>\nstream\n" % len(content) + content + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    written = bytearray(b"%PDF-1.6\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(written))
        written += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    start = len(written)
    written += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    written += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    written += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(written)


def _rim(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """The white square round a marker."""
    return np.asarray(corners + RIM_MM * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]), dtype=np.float64)


def _black_cells(number: int, corners: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Squares of a marker's black modules, in mm."""
    side = MARKER_MM / MODULES
    square = side * np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    return [corners[0] + side * np.array([column, row]) + square for row, column in np.argwhere(marker_bits(number))]


def _hand_outline() -> NDArray[np.float64]:
    """(n, 2) float64 in mm from the wrist, fingers along x, thumb along y."""
    drawn = np.zeros((160 * _DRAWN_AT, 230 * _DRAWN_AT), dtype=np.uint8)
    origin = np.array([25.0, 70.0])

    def at(point: Sequence[float] | NDArray[np.float64]) -> tuple[int, int]:
        x, y = (np.asarray(point) + origin) * _DRAWN_AT
        return round(float(x)), round(float(y))

    cv2.fillPoly(drawn, [np.array([at(point) for point in _PALM_MM], dtype=np.int32)], 255)
    for base, (length, half), angle in zip(_BASES_MM, _FINGERS_MM, np.deg2rad(_ANGLES_DEG), strict=True):
        axis = np.array([np.cos(angle), np.sin(angle)])
        ends = at(np.array(base) - 15.0 * axis), at(np.array(base) + (length - half) * axis)
        cv2.line(drawn, ends[0], ends[1], 255, round(2 * half * _DRAWN_AT))
    found, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = cv2.approxPolyDP(max(found, key=cv2.contourArea), 1.5, closed=True).reshape(-1, 2)
    return np.asarray(outline / _DRAWN_AT - origin, dtype=np.float64)


@console_script
def main(argv: Sequence[str] | None = None) -> int:
    """``canteen-platen``: 0 where the sheet was written, 1 where it could not be."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="canteen-platen",
        description=_(
            "La feuille du lecteur de main, à imprimer : la caméra y trouve l’échelle, l’inclinaison et la distorsion."
        ),
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar=_("COMMANDE"))
    sheet = commands.add_parser("sheet", help=_("écrit en PDF la feuille posée sur le plateau"))
    sheet.add_argument("--paper", choices=tuple(PAPERS), default="a4", help=_("le papier (%(default)s)"))
    sheet.add_argument("--out", type=Path, required=True, metavar="PDF", help=_("le fichier à écrire"))
    label = commands.add_parser(
        "label", help=_("écrit en PDF l’étiquette de la cale, d’où se mesure la hauteur de la caméra")
    )
    label.add_argument("--out", type=Path, required=True, metavar="PDF", help=_("le fichier à écrire"))
    arguments = parser.parse_args(argv)
    try:
        arguments.out.write_bytes(
            sheet_pdf(platen_sheet(arguments.paper) if arguments.command == "sheet" else block_label())
        )
    except OSError as error:
        sys.stderr.write(f"canteen-platen: {arguments.out}: {trouble(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
