"""The terminal's keys for boards and cards, kept under the store's key source; and how they lie, for the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.card_keys import READING_KEYS_BYTES, ReadingKeys
from firmware_bridge.channel_key import KEY_BYTES, check_channel_key
from firmware_bridge.key_installation import pending_beside
from firmware_bridge.peripheral_session import PeripheralPlace
from templates_store.kept_secret import Keeping, KeptSecrets, SecretKind
from terminal.board_settings import PeripheralSource
from terminal.configuration import Configuration


@dataclass(frozen=True, slots=True)
class KeyFile:
    """One key, as it lies on the disk now."""

    name: str
    keeping: Keeping
    pending: bool = False
    """A new key was made for a board, and it is not known that the board took it."""


@dataclass(frozen=True, slots=True)
class KeptKeys:
    """`ChannelKeys` of the boards, and the reading keys of the cards. Holds no key."""

    kept: KeptSecrets
    boards: tuple[PeripheralSource, ...]
    cards: Path | None

    @classmethod
    def of(cls, configuration: Configuration) -> KeptKeys:
        """Those that the configuration names."""
        reader = configuration.card_reader
        return cls(
            configuration.kept_secrets, configuration.board.peripherals, None if reader is None else reader.reading_key
        )

    def read(self, path: Path) -> bytes:
        """A board's channel key. Raises CanteenError where there is none to be used."""
        key = self.kept.read(path, KEY_BYTES, SecretKind.CHANNEL_KEY)
        check_channel_key(key)
        return key

    def keep(self, path: Path, key: bytes) -> None:
        """Raises ChannelKeyRefused, KeyUnavailable, OSError."""
        check_channel_key(key)
        self.kept.keep(path, key, SecretKind.CHANNEL_KEY)

    def places(self) -> list[PeripheralPlace]:
        """Everybody on the line, with their keys. Raises CanteenError where one has none."""
        return [PeripheralPlace(one.address, self.read(one.channel_key), one.roles) for one in self.boards]

    def reading_keys(self, path: Path) -> ReadingKeys:
        """The cards' keys. Raises CanteenError where there are none to be used."""
        return ReadingKeys.from_bytes(self.kept.read(path, READING_KEYS_BYTES, SecretKind.CARD_READING))

    @property
    def in_the_clear(self) -> bool:
        """Whether the configuration asks for plain files."""
        return self.kept.source.in_the_clear

    def files(self) -> list[KeyFile]:
        """Every key and how it lies, without opening any."""
        found = [
            KeyFile(
                f"board-{one.address}",
                self.kept.keeping(one.channel_key, KEY_BYTES),
                pending=pending_beside(one.channel_key).exists(),
            )
            for one in self.boards
        ]
        if self.cards is not None:
            found.append(KeyFile("cards", self.kept.keeping(self.cards, READING_KEYS_BYTES)))
        return found
