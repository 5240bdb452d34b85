"""The pupils of the demonstration: who they are, by which hand or card they pass, and where their hands come from.

Names are invented. Hands are synthetic, or images of a folder given as HANDS: read when they are laid, never copied.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from canteen.credentials import CardNumber
from canteen.entitlements import Entitlement, EntitlementKind, external_meal
from canteen.serving_periods import EVERY_DAY
from demo.errors import HandsFolderRefused

ENROLMENT_PLACEMENTS = 3
_SYNTHETIC_PROBES = 3


class Way(StrEnum):
    """How a person of the demonstration is to pass."""

    HAND = "hand"
    CARD = "card"
    """The parents oppose: a card, given free at the station."""
    UNDECIDED = "undecided"
    """Nobody has answered yet: yours to enrol at the station."""


@dataclass(frozen=True, slots=True)
class Hand:
    """One image of a person's hand."""

    label: str
    synthetic: tuple[int, int] | None = None
    file: Path | None = None

    def encoded(self) -> bytes:
        """The image as JPEG or PNG bytes, rendered or read now and kept nowhere."""
        if self.file is not None:
            return self.file.read_bytes()
        from hand_geometry.synthetic_hand import encode_jpeg, synthetic_hand

        identity, sample = self.synthetic or (0, 0)
        return encode_jpeg(synthetic_hand(identity, sample))


@dataclass(frozen=True, slots=True)
class Person:
    """A pupil as the demonstration plays them."""

    key: str
    first_name: str
    last_name: str
    class_name: str
    way: Way
    hands: tuple[Hand, ...] = field(repr=False)
    entitled: bool = True

    @property
    def enrolment(self) -> tuple[Hand, ...]:
        return self.hands[:ENROLMENT_PLACEMENTS]

    @property
    def probes(self) -> tuple[Hand, ...]:
        """Images that were not used to enrol."""
        return self.hands[ENROLMENT_PLACEMENTS:]

    @property
    def card(self) -> CardNumber:
        """The number printed on the card that this person gets: 7 bytes, always the same."""
        return CardNumber.from_bytes(b"\x04" + hashlib.sha256(f"card of {self.key}".encode()).digest()[:6])

    def entitlement(self, today: date) -> Entitlement:
        """The 5-day forfait, served on all seven days so that the demonstration works on a Sunday too."""
        if not self.entitled:
            return external_meal(today - timedelta(days=1))
        return Entitlement(
            EntitlementKind.FORFAIT_5_DAYS, EVERY_DAY, today - timedelta(days=60), today + timedelta(days=300)
        )

    def roster_row(self, today: date) -> dict[str, Any]:
        """This person as the billing server's roster takes it."""
        from sync.order_bodies import write_entitlement

        return {
            "first_name": self.first_name,
            "last_name": self.last_name,
            "class_name": self.class_name,
            "entitlements": [write_entitlement(self.entitlement(today))],
        }


_INVENTED = (
    ("Inès", "Abadie", "6e A", Way.HAND, True),
    ("Malo", "Bernadac", "6e A", Way.HAND, True),
    ("Yanis", "Castéra", "6e B", Way.HAND, True),
    ("Louise", "Dussol", "5e A", Way.HAND, True),
    ("Awa", "Escaffit", "5e B", Way.HAND, True),
    ("Timéo", "Fauré", "4e C", Way.HAND, True),
    ("Jade", "Gaubert", "6e B", Way.CARD, True),
    ("Sacha", "Hébrard", "3e A", Way.CARD, True),
    ("Nour", "Izard", "6e C", Way.UNDECIDED, True),
    ("Gabin", "Jouve", "6e C", Way.UNDECIDED, True),
    ("Élise", "Kerdoncuff", "externe", Way.HAND, False),
)


def synthetic_people() -> list[Person]:
    """Eleven pupils with synthetic hands; the sixth grade's two undecided ones are left to the visitor."""
    return [
        Person(
            key=f"synthetic-{identity}",
            first_name=first,
            last_name=last,
            class_name=class_name,
            way=way,
            hands=tuple(
                Hand(f"{sample + 1}", synthetic=(identity, sample))
                for sample in range(ENROLMENT_PLACEMENTS + _SYNTHETIC_PROBES)
            ),
            entitled=entitled,
        )
        for identity, (first, last, class_name, way, entitled) in enumerate(_INVENTED, start=1)
    ]


def people_of_folder(folder: Path) -> list[Person]:
    """One person for each subject of an image set that has enough images to enrol.

    Raises:
        HandsFolderRefused: no such folder, no index.csv (columns file, subject), or nobody with three images.
    """
    index = folder / "index.csv"
    try:
        with index.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        images: dict[str, list[Path]] = {}
        for row in rows:
            images.setdefault(row["subject"], []).append(folder / row["file"])
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise HandsFolderRefused(
            f"{index} : illisible ({error}). Il faut un fichier index.csv avec les colonnes file et subject."
        ) from error
    people = [
        Person(
            key=f"{folder.name}-{subject}",
            first_name="Personne",
            last_name=subject,
            class_name=folder.name,
            way=Way.HAND,
            hands=tuple(Hand(file.name, file=file) for file in files if file.is_file()),
        )
        for subject, files in sorted(images.items())
    ]
    people = [person for person in people if len(person.hands) >= ENROLMENT_PLACEMENTS]
    if not people:
        raise HandsFolderRefused(f"{folder} : personne n'y a trois images, il en faut trois pour inscrire une main.")
    return people
