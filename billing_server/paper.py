"""Certificates on paper: a plain A4 page with the signed statement attached, so that the paper can be verified too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fpdf import FPDF

_MARGIN_MM = 18
_LINE_MM = 6


@dataclass(frozen=True, slots=True)
class Paper:
    """What stands on the page.

    Attributes:
        facts: (name, value) lines.
        tables: each a heading row and its rows, with its title.
        document: the signed statement that is attached as `attachment`.
    """

    title: str
    subtitle: str
    verdict: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]]
    small_print: Sequence[str]
    document: dict[str, Any] = field(repr=False)
    attachment: str
    made_at: datetime
    language: str


def paper_octets(paper: Paper) -> bytes:
    """The PDF. Its fonts are those every reader has, in Windows-1252: enough for French and for codes."""
    from fpdf import FPDF  # a second of imports, for a page a day

    pdf = FPDF(format="A4")
    pdf.core_fonts_encoding = "cp1252"
    pdf.set_creation_date(paper.made_at)
    pdf.set_title(paper.title)
    pdf.set_lang(paper.language)
    pdf.set_margin(_MARGIN_MM)
    pdf.set_auto_page_break(auto=True, margin=_MARGIN_MM)
    pdf.add_page()
    _line(pdf, paper.title, 18, bold=True, height_mm=10)
    _line(pdf, paper.subtitle, 11)
    pdf.ln(3)
    pdf.set_fill_color(235, 241, 236)
    _line(pdf, paper.verdict, 13, bold=True, height_mm=11, fill=True)
    pdf.ln(3)
    for name, value in paper.facts:
        pdf.set_font("Helvetica", size=10)
        pdf.cell(62, _LINE_MM, _printable(name))
        pdf.set_font("Helvetica", style="B", size=10)
        pdf.multi_cell(0, _LINE_MM, _printable(value), new_x="LMARGIN", new_y="NEXT")
    for title, heading, rows in paper.tables:
        pdf.ln(4)
        _line(pdf, title, 12, bold=True, height_mm=8)
        pdf.set_font("Helvetica", size=9)
        with pdf.table(line_height=5.5, text_align="LEFT") as table:
            for cells in (heading, *rows):
                row = table.row()
                for cell in cells:
                    row.cell(_printable(cell))
    pdf.ln(4)
    for sentence in paper.small_print:
        pdf.set_font("Helvetica", size=8)
        pdf.multi_cell(0, 4, _printable(sentence), new_x="LMARGIN", new_y="NEXT")
    pdf.embed_file(
        bytes=json.dumps(paper.document, ensure_ascii=False, indent=1).encode(),
        basename=paper.attachment,
        mime_type="application/json",
        creation_date=paper.made_at,
        modification_date=paper.made_at,
    )
    return bytes(pdf.output())


def _line(pdf: FPDF, text: str, size: int, *, bold: bool = False, height_mm: float = 6, fill: bool = False) -> None:
    pdf.set_font("Helvetica", style="B" if bold else "", size=size)
    pdf.multi_cell(0, height_mm, _printable(text), new_x="LMARGIN", new_y="NEXT", fill=fill)


def _printable(text: str) -> str:
    """What the fonts have no sign for becomes a question mark: a name must not stop a certificate."""
    return text.replace("\u202f", "\xa0").replace("→", ">").encode("cp1252", "replace").decode("cp1252")
