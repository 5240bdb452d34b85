"""Codes: no slip of a finger opens another child's account."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from canteen.credentials import CardNumber, PersonalCode
from canteen.errors import InvalidCardNumber, InvalidPersonalCode
from canteen.personal_code import check_digit, has_valid_check_digit, personal_codes

prefixes = st.text("0123456789", min_size=2, max_size=7)


def test_published_example() -> None:
    """Damm's own example: 572 has check digit 4."""
    assert check_digit("572") == "4"


@given(prefixes, st.data())
def test_any_single_wrong_digit_is_noticed(prefix: str, data: st.DataObject) -> None:
    """One wrong key gives no valid code."""
    code = prefix + check_digit(prefix)
    place = data.draw(st.integers(0, len(code) - 1))
    wrong = data.draw(st.sampled_from([d for d in "0123456789" if d != code[place]]))
    assert not has_valid_check_digit(code[:place] + wrong + code[place + 1 :])


@given(prefixes, st.data())
def test_any_swap_of_neighbours_is_noticed(prefix: str, data: st.DataObject) -> None:
    """Two neighbours typed the wrong way round give no valid code."""
    code = prefix + check_digit(prefix)
    place = data.draw(st.integers(0, len(code) - 2))
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    assert swapped == code or not has_valid_check_digit(swapped)


def test_all_codes_of_a_length_are_valid_and_different() -> None:
    """1,000 codes of four digits, each its own."""
    codes = list(personal_codes(4))
    assert len(codes) == len(set(codes)) == 1000
    assert all(PersonalCode(code).digits == code for code in codes)


@given(st.text(max_size=12))
def test_whatever_is_typed_a_code_is_valid_or_refused(text: str) -> None:
    """No other error, and a code never shows its digits."""
    try:
        assert text not in repr(PersonalCode(text))
    except InvalidPersonalCode:
        pass


@given(st.binary(max_size=16))
def test_whatever_a_reader_sends_a_card_is_valid_or_refused(number: bytes) -> None:
    """4 to 10 bytes are a card; everything else is one clear error."""
    try:
        card = CardNumber.from_bytes(number)
    except InvalidCardNumber:
        assert not 4 <= len(number) <= 10
    else:
        assert bytes.fromhex(card.hexadecimal) == number
        assert card.hexadecimal not in repr(card)
