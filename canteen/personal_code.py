"""The check digit of personal codes, so that no slip of a finger opens another child's account.

Damm's algorithm (H. M. Damm, "Total anti-symmetrische Quasigruppen", 2004): any single wrong digit and any swap of two
neighbours give an invalid code. The table is the order-10 quasigroup of that thesis.
"""

from __future__ import annotations

from collections.abc import Iterator

CODE_DIGITS_MIN = 3
CODE_DIGITS_MAX = 8

_QUASIGROUP = (
    (0, 3, 1, 7, 5, 9, 8, 6, 4, 2),
    (7, 0, 9, 2, 1, 5, 4, 8, 6, 3),
    (4, 2, 0, 6, 8, 7, 1, 3, 5, 9),
    (1, 7, 5, 0, 9, 8, 3, 4, 2, 6),
    (6, 1, 2, 3, 0, 4, 5, 9, 7, 8),
    (3, 6, 7, 4, 2, 0, 9, 5, 8, 1),
    (5, 8, 6, 9, 7, 2, 0, 1, 3, 4),
    (8, 9, 4, 5, 3, 6, 2, 0, 1, 7),
    (9, 4, 3, 8, 6, 1, 7, 2, 0, 5),
    (2, 5, 8, 1, 4, 3, 6, 7, 9, 0),
)


def check_digit(digits: str) -> str:
    """The digit that makes `digits` a valid code when appended."""
    interim = 0
    for digit in digits:
        interim = _QUASIGROUP[interim][int(digit)]
    return str(interim)


def has_valid_check_digit(digits: str) -> bool:
    """Whether the last digit of `digits` is the check digit of those before it."""
    return check_digit(digits) == "0"


def personal_codes(length: int) -> Iterator[str]:
    """Every valid code of `length` digits, check digit included, in ascending order.

    Draw from them at random: consecutive codes would let a pupil guess a neighbour's.
    """
    if not CODE_DIGITS_MIN <= length <= CODE_DIGITS_MAX:
        raise ValueError(f"a code has {CODE_DIGITS_MIN} to {CODE_DIGITS_MAX} digits, not {length}")
    for number in range(10 ** (length - 1)):
        prefix = str(number).zfill(length - 1)
        yield prefix + check_digit(prefix)
