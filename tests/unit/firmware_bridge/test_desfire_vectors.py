"""Published examples: none of these numbers was made by this project.

Sources, each named again at its test:
- NIST SP 800-38B, appendix D.1 (AES-128 CMAC), the same as RFC 4493 section 4;
- NXP AN10922 "Symmetric key diversifications", section 2.2.1 (AES-128);
- "DESFire EV1 Communication Examples" by Elmue: sessions recorded with real EV1 cards, published with the article
  "DIY electronic RFID Door Lock" (codeproject.com) and used as test data by several open DESFire libraries;
- the CRC32 example in the self-test of the Proxmark3 client (`desfiretest.c`): a chip number with its checksum.
"""

from __future__ import annotations

import pytest

from firmware_bridge.desfire import PICC_AID, CardChannel, DesfireCard, FileSettings
from firmware_bridge.desfire_commands import FileProtection
from firmware_bridge.desfire_crypto import SecureSession, cmac, cmac_subkeys, crc32, encrypt_cbc
from firmware_bridge.desfire_factory_key import authenticate_factory_key, encrypt_des
from firmware_bridge.key_diversification import diversified_key

_NIST_KEY = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
_NIST_MESSAGE = bytes.fromhex(
    "6BC1BEE22E409F96E93D7E117393172AAE2D8A571E03AC9C9EB76FAC45AF8E51"
    "30C81C46A35CE411E5FBC1191A0A52EFF69F2445DF4F9B17AD2B417BE66C3710"
)
_SECOND_KEY = bytes.fromhex("10182028303840485058606870788088")


class _Script:
    """A channel that holds a recording: each command must be the recorded one, in ISO wrapping."""

    def __init__(self, *exchanges: tuple[str, str]) -> None:
        self._exchanges = list(exchanges)

    def transmit(self, apdu: bytes) -> bytes:
        sent, answered = (bytes.fromhex(text) for text in self._exchanges.pop(0))
        assert sent == bytes([apdu[1]]) + apdu[5:-1]
        return answered[1:] + b"\x91" + answered[:1]

    def done(self) -> bool:
        return not self._exchanges


def _card(channel: CardChannel, rnd_a: str) -> DesfireCard:
    return DesfireCard(channel, lambda _: bytes.fromhex(rnd_a))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "BB1D6929E95937287FA37D129B756746"),
        (16, "070A16B46B4D4144F79BDD9DD04A287C"),
        (40, "DFA66747DE9AE63030CA32611497C827"),
        (64, "51F0BEBF7E3B9D92FC49741779363CFE"),
    ],
)
def test_cmac_of_nist(length: int, expected: str) -> None:
    """SP 800-38B D.1, examples 1 to 4."""
    assert bytes.fromhex(expected) == cmac(_NIST_KEY, _NIST_MESSAGE[:length])


def test_subkeys_of_nist() -> None:
    """SP 800-38B D.1: K1 and K2."""
    assert (
        bytes.fromhex("FBEED618357133667C85E08F7236A8DE"),
        bytes.fromhex("F7DDAC306AE266CCF90BC11EE46D513B"),
    ) == cmac_subkeys(_NIST_KEY)


def test_diversified_key_of_an10922() -> None:
    """AN10922 2.2.1: UID 04782E21801D80, application 3042F5, system "NXP Abu"."""
    master = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    diversification_input = bytes.fromhex("04782E21801D80" + "3042F5" + "4E585020416275")
    assert bytes.fromhex("A8DD63A3B89D54B37CA802473FDA9175") == diversified_key(master, diversification_input)


def test_crc32_of_a_chip_number() -> None:
    """Proxmark3's example: the chip number 04440F32763180 as it comes enciphered, with the status that goes into it."""
    assert bytes.fromhex("99CE1AD4") == crc32(bytes.fromhex("04440F32763180" + "00"))


def test_aes_authentication_with_the_zero_key() -> None:
    """Elmue: Authenticate(KeyNo 0, zeros); the session key shows in what it enciphers (next test uses it)."""
    script = _Script(
        ("AA 00", "AF B969FDFE56FD91FC9DE6F6F213B8FD1E"),
        (
            "AF 36AAD7DF6E436BA08D18613830A70D5AD43E3D3F4A8D47541EEE623A934E4774",
            "00 800DB680BC146BD121D6578F2D2E2059",
        ),
        # ChangeKey(KeyNo 0) to 00102030…, version 0x10: the session's own key, so no MAC comes back.
        ("C4 00 E9F85E219496C2B58C1090DC3935FAE9E840CF61B383D9531946256B1F110C10", "00"),
    )
    card = _card(script, "F44B26F5686F3A391CD38EBD10772281")
    card.authenticate(0, bytes(16))
    card.change_key(0, bytes.fromhex("00102030405060708090A0B0B0A09080"), 0x10)
    assert script.done()


def test_changing_another_key() -> None:
    """Elmue: ChangeKey(KeyNo 1) under key 0, from zeros to 00102030…, with two checksums, and the answer's MAC."""
    session = SecureSession(bytes.fromhex("C2A1E47BD8100044FE6D00A74D7AB17C"))
    new_key = bytes.fromhex("00102030405060708090A0B0B0A09080")
    payload = new_key + b"\x10"
    cryptogram = session.encipher(payload + crc32(b"\xc4\x01" + payload) + crc32(new_key))
    assert bytes.fromhex("E7ECCB6BD1CA64BC161A12B1C024F71430337408C8A87EACAB7A1FF18951FCA3") == cryptogram
    assert bytes.fromhex("2128D3CD9C9ACFFF") == session.authenticate(b"\x00")


def test_a_recorded_session_over_a_file() -> None:
    """Elmue: a session under 10182028…, a file made, listed, described and deleted; every answer's MAC follows on."""
    script = _Script(
        ("AA 00", "AF B351CB2465D4F33AC627FD6E87A168F2"),
        (
            "AF 044B6CAC343A0865895149649CA8DDE1F5AC4EC67BD208900AF02F049E05F0B0",
            "00 A2EE144B1012FBEB7B2F11132D95A454",
        ),
        ("CD 05 00 1100 500000", "00 A75316AD1596B953"),
        ("6F", "00 05 2D5FF67FFEC9D2D3"),
        ("F5 05", "00 00 00 1100 500000 2AAC7517024E09DC"),
    )
    card = _card(script, "40E7D27174CBA675E8EFBAB99C530E3D")
    card.authenticate(0, _SECOND_KEY)
    settings = FileSettings(FileProtection.PLAIN, (0, 0, 1, 1), 80)
    card.create_std_data_file(5, settings)
    assert [5] == card.get_file_ids()
    assert settings == card.get_file_settings(5)
    assert script.done()


def test_the_same_session_goes_on() -> None:
    """Elmue: the same session's plain writes, reads and deletion; MACs over answers of up to 48 bytes."""
    session = SecureSession(bytes.fromhex("40E7D271626FFBD49C530E3D304F5B17"))
    content = bytes(range(80))
    for command, answer, expected in [
        (bytes.fromhex("CD05001100500000"), b"", "A75316AD1596B953"),
        (bytes.fromhex("6F"), b"\x05", "2D5FF67FFEC9D2D3"),
        (bytes.fromhex("F505"), bytes.fromhex("00001100500000"), "2AAC7517024E09DC"),
        (bytes.fromhex("3D05000000340000") + content[:0x34], b"", "765C9DAA50ECB62F"),
        (bytes.fromhex("3D053400001C0000") + content[0x34:], b"", "3E0AED986B8B0F37"),
        (bytes.fromhex("BD05000000300000"), content[:0x30], "4C65F1F842262BAC"),
        (bytes.fromhex("BD05300000200000"), content[0x30:], "F02205CF913C03C9"),
        (bytes.fromhex("DF05"), b"", "1BEF0D32B6D1D7F9"),
    ]:
        session.authenticate(command)
        session.check(answer + b"\x00", bytes.fromhex(expected))


def test_the_factory_key() -> None:
    """Elmue: Authenticate(KeyNo 0, DES zeros) of a new card, and its session key 84 9A 36 C4 4E D0 B6 58."""
    script = _Script(
        ("5A 000000", "00"),
        ("1A 00", "AF 5D994CE085F24089"),
        ("AF 21D0AD5F2FD97454A746CC80567F1B1C", "00 913C6DED84221C41"),
    )
    card = _card(script, "")
    card.select_application(PICC_AID)
    session_key = authenticate_factory_key(card, lambda _: bytes.fromhex("849B36C5F8BF4A09"))
    # The lowest bit of each byte of a DES key is parity, which the recording shows cleared.
    assert bytes.fromhex("849A36C44ED0B658") == bytes(byte & 0xFE for byte in session_key)


def test_changing_a_key_under_the_factory_key() -> None:
    """Elmue: the cryptogram of a ChangeKey in a session of single DES: checksum, padding and chaining."""
    plain = bytes.fromhex("00102031405060708090A0B0B0A09080" + "C5FF0150" + "00000000")
    assert bytes.fromhex("C5FF0150") == crc32(b"\xc4\x00" + plain[:16])
    cipher = encrypt_des(bytes.fromhex("C86CE25E4C647E56"), bytes(8), plain)
    assert bytes.fromhex("BEDE0FC6ED347DCF0D51C717DF75D97D2C5A2BA6CAC7479D") == cipher


def test_aes_of_fips_197() -> None:
    """FIPS 197 appendix C.1: the block cipher below all this."""
    key, plain = bytes(range(16)), bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    assert bytes.fromhex("69C4E0D86A7B0430D8CDB78070B4C55A") == encrypt_cbc(key, bytes(16), plain)
