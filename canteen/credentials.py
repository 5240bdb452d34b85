"""What a person presents at the access point: a personal code or a card."""

from __future__ import annotations

import re
from dataclasses import dataclass

from canteen.errors import InvalidCardNumber, InvalidPersonalCode
from canteen.personal_code import CODE_DIGITS_MAX, CODE_DIGITS_MIN, has_valid_check_digit

_CARD_NUMBER = re.compile(r"[0-9A-F]{8,20}")


@dataclass(frozen=True, slots=True)
class PersonalCode:
    """A claim of identity, check digit included. Not a secret, but never logged."""

    digits: str

    def __post_init__(self) -> None:
        if not (
            self.digits.isascii()
            and self.digits.isdigit()
            and CODE_DIGITS_MIN <= len(self.digits) <= CODE_DIGITS_MAX
            and has_valid_check_digit(self.digits)
        ):
            raise InvalidPersonalCode

    def __repr__(self) -> str:
        return "PersonalCode(…)"


@dataclass(frozen=True, slots=True)
class CardNumber:
    """A card's serial number as upper-case hexadecimal, 4 to 10 bytes (ISO/IEC 14443-3 UIDs)."""

    hexadecimal: str

    def __post_init__(self) -> None:
        if not (_CARD_NUMBER.fullmatch(self.hexadecimal) and len(self.hexadecimal) % 2 == 0):
            raise InvalidCardNumber

    @classmethod
    def from_bytes(cls, number: bytes) -> CardNumber:
        """The card number of `number`, most significant byte first.

        Raises:
            InvalidCardNumber: not 4 to 10 bytes.
        """
        return cls(number.hex().upper())

    def __repr__(self) -> str:
        return "CardNumber(…)"


Credential = PersonalCode | CardNumber
