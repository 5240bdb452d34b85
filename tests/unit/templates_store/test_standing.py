"""What the station asks of its store beyond the port: standings, and what an earlier erasure said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from canteen.consent import Consent, ConsentState, GivenBy
from canteen.credentials import CardNumber, PersonalCode
from canteen.identifiers import PupilId
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource
from templates_store.standing import Standing
from templates_store.store import Erasure, PupilRecord, PurgeOutcome

_NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
_CONSENT = Consent("2026-09", GivenBy.ADULT_PUPIL, _NOW)
_ADA = PupilRecord(PupilId("p-00000000000000aa"), "Ada", "Byron", "6e B", ())
_ALAN = PupilRecord(PupilId("p-00000000000000bb"), "Alan", "Turing", "6e A", ())


def _store(tmp_path: Path) -> EncryptedStore:
    store = EncryptedStore(tmp_path / "store.db", FileKeySource(tmp_path / "store.key"))
    store.put_pupils([(_ADA, PersonalCode("0013")), (_ALAN, PersonalCode("0021"))], whole=True)
    return store


def test_standings_say_all_at_once(tmp_path: Path) -> None:
    """By class and name, with consent, revision and card; a blocked card is none."""
    store = _store(tmp_path)
    store.put_consent(_ADA.pupil, ConsentState.GIVEN, _CONSENT)
    store.put_reference(_ADA.pupil, 7, _CONSENT, b"hand")
    store.put_card(CardNumber("04A1B2C3"), _ALAN.pupil)
    store.put_card(CardNumber("04A1B2C4"), _ADA.pupil)
    store.block_card(CardNumber("04A1B2C4"))
    expected = [
        Standing(_ALAN, ConsentState.NONE, 0, has_card=True),
        Standing(_ADA, ConsentState.GIVEN, 7, has_card=False),
    ]
    assert expected == store.standings()
    store.close()


def test_an_erasure_is_remembered_for_its_receipt(tmp_path: Path) -> None:
    """Asked again after a kill, the store still says which record went, and in which epoch: always the latest."""
    store = _store(tmp_path)
    assert store.last_erasure(_ADA.pupil) is None
    store.put_reference(_ADA.pupil, 1, _CONSENT, b"hand")
    first = store.purge(_ADA.pupil, Erasure.REFERENCE)
    assert first == store.last_erasure(_ADA.pupil)
    assert PurgeOutcome(None, 2, 2) == store.purge(_ADA.pupil, Erasure.REFERENCE)
    assert first == store.last_erasure(_ADA.pupil)
    store.put_reference(_ADA.pupil, 2, _CONSENT, b"hand")
    second = store.purge(_ADA.pupil, Erasure.EVERYTHING)
    store.close()
    again = EncryptedStore(tmp_path / "store.db", FileKeySource(tmp_path / "store.key"))
    assert second == again.last_erasure(_ADA.pupil)
    assert second.record_digest != first.record_digest
    again.close()
