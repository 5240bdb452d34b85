"""How this school makes its cards: `[cards]` of the configuration, and the key files it names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from canteen.private_file import PrivateFileRefused, create_private_file, read_private_file
from enrollment_station.errors import ConfigurationRefused
from firmware_bridge.card_keys import (
    MASTER_SECRET_BYTES,
    READING_KEYS_BYTES,
    EncodingKeys,
    new_master_secret,
)
from firmware_bridge.card_layout import DEFAULT_AID, CardLayout
from firmware_bridge.errors import CardKeysRefused
from templates_store.errors import KeyUnavailable
from templates_store.kept_secret import KeptSecrets, SecretKind

_KNOWN = frozenset({"mode", "reader", "uai", "aid", "master_key", "reading_key"})
_READING_KEY_NAME = "card-reading.key"


class CardMode(StrEnum):
    """Where a card's number comes from."""

    TYPED = "typed"
    """Typed, or sent by a reader that acts as a keyboard."""
    ENCODE = "encode"
    """Random, written on the card here under the school's keys."""
    UID = "uid"
    """The chip's own, which anyone can copy: off unless it is asked for."""


@dataclass(frozen=True, slots=True)
class CardSettings:
    """The table `[cards]`.

    Attributes:
        reader: part of the reader's name; None for the first one.
        layout: None unless the cards are encoded here.
        master_key: the secret that all card keys come from; 32 bytes, kept under the store's key source.
        reading_key: what is carried to the terminals; 32 plain bytes, mode 0600.
    """

    mode: CardMode = CardMode.TYPED
    reader: str | None = None
    layout: CardLayout | None = None
    master_key: Path | None = None
    reading_key: Path | None = None


def read_card_settings(untrusted_table: Any, folder: Path) -> CardSettings:
    """The table `[cards]`; without one, numbers are typed.

    Raises:
        ConfigurationRefused: a setting is missing, wrong or unknown.
    """
    if untrusted_table is None:
        return CardSettings()
    if not isinstance(untrusted_table, dict):
        raise ConfigurationRefused("cards: a table is needed")
    for name, value in untrusted_table.items():
        # A misspelt `mode` would quietly mean `typed`.
        if name not in _KNOWN:
            raise ConfigurationRefused(f"cards.{name}: there is no such setting")
        if not isinstance(value, str) or not value:
            raise ConfigurationRefused(f"cards.{name}: text is needed")
    try:
        mode = CardMode(untrusted_table.get("mode", CardMode.TYPED))
    except ValueError as error:
        raise ConfigurationRefused(f"cards.mode: one of {', '.join(CardMode)} is needed") from error
    master_key = untrusted_table.get("master_key")
    if mode is CardMode.ENCODE and master_key is None:
        raise ConfigurationRefused("cards.master_key: a file is needed to encode cards")
    reading_key = untrusted_table.get("reading_key")
    master_file = None if master_key is None else folder / master_key
    return CardSettings(
        mode=mode,
        reader=untrusted_table.get("reader"),
        layout=_layout(untrusted_table) if mode is CardMode.ENCODE else None,
        master_key=master_file,
        reading_key=folder / reading_key
        if reading_key is not None
        else (None if master_file is None else master_file.with_name(_READING_KEY_NAME)),
    )


def _layout(table: dict[str, str]) -> CardLayout:
    if "uai" not in table:
        raise ConfigurationRefused("cards.uai: the school's number is needed to encode cards")
    try:
        aid = bytes.fromhex(table["aid"]) if "aid" in table else DEFAULT_AID
    except ValueError as error:
        raise ConfigurationRefused("cards.aid: three bytes in hexadecimal are needed") from error
    try:
        return CardLayout(table["uai"], aid)
    except CardKeysRefused as error:
        raise ConfigurationRefused(f"cards: {error}") from error


def load_encoding_keys(settings: CardSettings, kept: KeptSecrets) -> EncodingKeys:
    """The keys to make cards with.

    Raises:
        ConfigurationRefused: the file is missing, open to others, or no secret; or the key source does not open it.
    """
    return EncodingKeys.from_master_secret(_master_secret(settings, kept))


def _master_secret(settings: CardSettings, kept: KeptSecrets) -> bytes:
    if settings.master_key is None:
        raise ConfigurationRefused("cards.master_key: a file is needed")
    try:
        secret = kept.read(settings.master_key, MASTER_SECRET_BYTES, SecretKind.CARD_MASTER)
        EncodingKeys.from_master_secret(secret)
    except (PrivateFileRefused, CardKeysRefused, KeyUnavailable) as error:
        raise ConfigurationRefused(f"cards.master_key: {error}") from error
    return secret


@dataclass(frozen=True, slots=True)
class CardKeyFiles:
    """What `canteen-station card-keys` leaves.

    Attributes:
        fresh: the secret was made now; otherwise it was there, and is unchanged.
    """

    master_key: Path
    reading_key: Path
    fresh: bool


def make_card_keys(settings: CardSettings, kept: KeptSecrets, copy: Path | None = None) -> CardKeyFiles:
    """Makes the school's card secret unless there is one, and writes the terminals' part of it; replaces neither.

    Args:
        settings: says where.
        kept: keeps the secret.
        copy: where to leave a plain copy of the secret, for the safe; must not exist.

    Raises:
        ConfigurationRefused: no file is named, one cannot be used, or the terminals' file is of another secret.
    """
    if settings.master_key is None or settings.reading_key is None:
        raise ConfigurationRefused("cards.master_key: say in the configuration where the secret is to be kept")
    try:
        fresh = not settings.master_key.exists()
        if fresh:
            kept.keep(settings.master_key, new_master_secret(), SecretKind.CARD_MASTER)
        secret = _master_secret(settings, kept)
        reading = EncodingKeys.from_master_secret(secret).reading.to_bytes()
        if not settings.reading_key.exists():
            create_private_file(settings.reading_key, reading)
        elif read_private_file(settings.reading_key, READING_KEYS_BYTES) != reading:
            raise ConfigurationRefused(f"{settings.reading_key}: is of another secret; move it away first")
        if copy is not None:
            create_private_file(copy, secret)
    except (PrivateFileRefused, KeyUnavailable, OSError) as error:
        raise ConfigurationRefused(str(error)) from error
    return CardKeyFiles(settings.master_key, settings.reading_key, fresh)
