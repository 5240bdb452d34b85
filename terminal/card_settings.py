"""`[card_reader]` of the configuration: which reader gives the cards, and the keys that a terminal reads them with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.card_layout import DEFAULT_AID, CardLayout
from firmware_bridge.errors import CardKeysRefused
from terminal.errors import ConfigurationRefused
from terminal.toml_table import TomlTable


@dataclass(frozen=True, slots=True)
class PcscReaderSource:
    """A reader of its own beside the board.

    Attributes:
        reader: part of its name as `pcsc_scan` shows it; None for the first one.
        layout: where the school's number is on a card; None in UID mode, in which anyone can copy a card.
        reading_key: the file that `canteen-station card-keys` made for the terminals; carried here as 32 plain
            bytes of mode 0600, kept as `kept_keys` keeps them.
    """

    reader: str | None
    layout: CardLayout | None
    reading_key: Path | None

    @property
    def knows_chips_only(self) -> bool:
        """Whether cards are known by a number that goes through the air in clear."""
        return self.layout is None


def read_card_reader(table: TomlTable, folder: Path) -> PcscReaderSource | None:
    """The PC/SC reader, or None where the board reads the cards.

    Raises:
        ConfigurationRefused: a value is missing, unknown or wrong.
    """
    kind = table.one_of("kind", ("osdp", "pcsc", "pcsc-uid"), "osdp")
    source = None
    if kind != "osdp":
        reader = table.text("reader") if table.has("reader") else None
        if kind == "pcsc":
            source = PcscReaderSource(reader, _layout(table), table.path("reading_key", folder))
        else:
            source = PcscReaderSource(reader, None, None)
    table.refuse_unknown()
    return source


def _layout(table: TomlTable) -> CardLayout:
    aid = DEFAULT_AID
    if table.has("aid"):
        try:
            aid = bytes.fromhex(table.text("aid"))
        except ValueError as error:
            raise ConfigurationRefused("[card_reader] aid is three bytes in hexadecimal") from error
    try:
        return CardLayout(table.text("uai"), aid)
    except CardKeysRefused as error:
        raise ConfigurationRefused(f"[card_reader] {error}") from error
