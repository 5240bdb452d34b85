"""One suite over the port of the template store; every implementation runs it.

A new implementation adds a line to `STORES` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from canteen.consent import Consent, ConsentState, GivenBy
from canteen.credentials import CardNumber, PersonalCode
from canteen.entitlements import external_meal, forfait_4_days
from canteen.identifiers import PupilId
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import CodeTaken, ConsentMissing, StoreUnavailable, UnknownPupil
from templates_store.key_source import FileKeySource, KeySource
from templates_store.lease import LeaseStanding
from templates_store.split_key import SplitKeySource
from templates_store.store import Erasure, PupilRecord, ReferenceAbsence, StoredReference, TemplateStore
from templates_store.tpm import Tpm, TpmKeySource
from tests.contract.software_tpm import SoftwareTpm
from tests.contract.test_key_source import _credential, needs_tpm

NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
WEEK = timedelta(days=7)
CONSENT = Consent("2026-09", GivenBy.LEGAL_REPRESENTATIVE, NOW - timedelta(days=30))
ADA, ALAN = PupilId("p-00000000000000aa"), PupilId("p-00000000000000bb")
ADA_CODE, ALAN_CODE, OTHER_CODE = PersonalCode("0013"), PersonalCode("0021"), PersonalCode("0037")
CARD, OTHER_CARD = CardNumber("04A1B2C3D4E5F6"), CardNumber("04FFFFFFFFFFFF")
ADA_RECORD = PupilRecord(ADA, "Ada", "Byron", "6e A", (forfait_4_days(date(2026, 9, 1), date(2027, 7, 3)),))
ALAN_RECORD = PupilRecord(ALAN, "Alan", "Turing", "5e B", (external_meal(date(2026, 11, 23)),))

STORES: dict[str, Callable[[Path, KeySource], TemplateStore]] = {
    "encrypted": lambda folder, key_source: EncryptedStore(folder / "store.db", key_source),
}
SOURCES = ["file", "split", pytest.param("tpm", marks=[needs_tpm, pytest.mark.slow])]
"""The split one holds a systemd credential, too; every source alone has its suite in `test_key_source.py`."""


@pytest.fixture(scope="module")
def software_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """One for all."""
    tpm = SoftwareTpm(tmp_path_factory.mktemp("tpm"))
    yield tpm
    tpm.stop()


@pytest.fixture(params=SOURCES)
def key_source(request: pytest.FixtureRequest, tmp_path: Path) -> KeySource:
    """Where the store's secrets are."""
    if request.param == "tpm":
        return TpmKeySource(tmp_path / "store.key", Tpm(request.getfixturevalue("software_tpm").tcti))
    first = FileKeySource(tmp_path / "store.key")
    return first if request.param == "file" else SplitKeySource(first, _credential(tmp_path, b"m" * 32))


@pytest.fixture(params=sorted(STORES))
def make_store(request: pytest.FixtureRequest, tmp_path: Path, key_source: KeySource) -> Callable[[], TemplateStore]:
    """Opens the store of one folder, again and again."""
    return lambda: STORES[request.param](tmp_path, key_source)


@pytest.fixture
def store(make_store: Callable[[], TemplateStore]) -> Iterator[TemplateStore]:
    """A store with two pupils and a lease of a week."""
    opened = make_store()
    opened.put_pupils([(ADA_RECORD, ADA_CODE), (ALAN_RECORD, ALAN_CODE)], whole=True)
    opened.renew_lease(NOW + WEEK)
    yield opened
    opened.close()


def test_a_pupil_is_found_by_code_and_comes_back_as_put(store: TemplateStore) -> None:
    """Lookup by code gives the whole record, entitlements included; another code gives nobody."""
    assert ADA_RECORD == store.find_by_code(ADA_CODE)
    assert ALAN_RECORD == store.pupil(ALAN)
    assert store.find_by_code(OTHER_CODE) is None
    assert ADA_CODE == store.code_of(ADA)
    assert store.code_of(PupilId("p-00000000000000cc")) is None
    assert {ADA_RECORD, ALAN_RECORD} == set(store.pupils())


def test_a_look_up_says_what_both_questions_say(store: TemplateStore) -> None:
    """Pupil and reference in one question, with every reason why there is none."""
    assert store.look_up(OTHER_CODE, NOW) is None
    assert (ADA_RECORD, ReferenceAbsence.NONE) == store.look_up(ADA_CODE, NOW)
    store.put_reference(ADA, 1, CONSENT, b"reference")
    assert (ADA_RECORD, StoredReference(ADA, 1, CONSENT, b"reference")) == store.look_up(ADA_CODE, NOW)
    assert (ALAN_RECORD, ReferenceAbsence.NONE) == store.look_up(ALAN_CODE, NOW)
    assert (ADA_RECORD, ReferenceAbsence.LEASE_EXPIRED) == store.look_up(ADA_CODE, NOW + WEEK)
    store.put_consent(ADA, ConsentState.OPPOSED, None)
    assert (ADA_RECORD, ReferenceAbsence.NONE) == store.look_up(ADA_CODE, NOW)
    store.purge(ADA, Erasure.EVERYTHING)
    assert store.look_up(ADA_CODE, NOW) is None


def test_a_signed_time_after_the_lease_destroys_what_is_held(store: TemplateStore) -> None:
    """Not at the word itself, since a fresh lease may follow, but when the lease is tended."""
    store.put_reference(ADA, 1, CONSENT, b"reference")
    assert store.tend(NOW) is LeaseStanding.HOLDS
    store.note_signed_time(NOW + 2 * WEEK, NOW + 2 * WEEK)
    assert 1 == store.reference_revision(ADA)
    assert store.tend(NOW + 2 * WEEK) is LeaseStanding.DESTROYED
    assert 0 == store.reference_revision(ADA)
    assert ADA_CODE == store.code_of(ADA)
    assert store.put_reference(ADA, 1, CONSENT, b"sealed again")
    store.renew_lease(NOW + 3 * WEEK)
    assert isinstance(store.reference(ADA, NOW + 2 * WEEK), StoredReference)
    assert not store.rolled_back


def test_everything_is_there_after_a_restart(make_store: Callable[[], TemplateStore], store: TemplateStore) -> None:
    """Nothing lives in memory alone."""
    store.put_card(CARD, ADA)
    store.put_consent(ADA, ConsentState.GIVEN, CONSENT)
    assert store.put_reference(ADA, 3, CONSENT, b"reference")
    store.put_document("calendar", {"timezone": "Europe/Paris"})
    store.note_instant(NOW)
    store.close()
    again = make_store()
    assert ADA_RECORD == again.find_by_code(ADA_CODE)
    assert StoredReference(ADA, 3, CONSENT, b"reference") == again.reference(ADA, NOW)
    assert (ConsentState.GIVEN, CONSENT) == again.consent_of(ADA)
    assert again.has_card(ADA)
    assert {"timezone": "Europe/Paris"} == again.document("calendar")
    assert (NOW, NOW + WEEK) == (again.high_water_mark, again.lease_until)
    again.close()


def test_a_closed_store_is_unavailable(store: TemplateStore) -> None:
    """Every use after close raises, instead of opening the file once more."""
    store.close()
    with pytest.raises(StoreUnavailable):
        store.pupil(ADA)


def test_a_pupil_put_again_is_replaced_and_keeps_the_rest(store: TemplateStore) -> None:
    """A change of class, name or code leaves card, consent and reference as they were."""
    store.put_card(CARD, ADA)
    store.put_consent(ADA, ConsentState.GIVEN, CONSENT)
    store.put_reference(ADA, 1, CONSENT, b"reference")
    moved = PupilRecord(ADA, "Ada", "Lovelace", "4e C", ())
    assert [] == store.put_pupils([(moved, OTHER_CODE)], whole=False)
    assert moved == store.find_by_code(OTHER_CODE)
    assert store.find_by_code(ADA_CODE) is None
    assert OTHER_CODE == store.code_of(ADA)
    assert store.has_card(ADA)
    assert StoredReference(ADA, 1, CONSENT, b"reference") == store.reference(ADA, NOW)


def test_two_pupils_may_exchange_their_codes(store: TemplateStore) -> None:
    """Within one roster the order of the rows does not matter."""
    store.put_pupils([(ADA_RECORD, ALAN_CODE), (ALAN_RECORD, ADA_CODE)], whole=False)
    assert ALAN_RECORD == store.find_by_code(ADA_CODE)
    assert ADA_RECORD == store.find_by_code(ALAN_CODE)


@pytest.mark.parametrize("whole", [False, True])
def test_a_code_taken_changes_nothing(store: TemplateStore, whole: bool) -> None:
    """Two pupils with one code are refused as a whole."""
    third = PupilRecord(PupilId("p-00000000000000cc"), "Grace", "Hopper", "6e A", ())
    with pytest.raises(CodeTaken):
        store.put_pupils([(third, OTHER_CODE), (ADA_RECORD, OTHER_CODE)], whole=whole)
    assert {ADA_RECORD, ALAN_RECORD} == set(store.pupils())
    assert ADA_CODE == store.code_of(ADA)


def test_a_code_of_a_pupil_outside_the_roster_is_taken(store: TemplateStore) -> None:
    """Also against those who are already here."""
    with pytest.raises(CodeTaken):
        store.put_pupils([(ADA_RECORD, ALAN_CODE)], whole=False)
    assert ALAN_RECORD == store.find_by_code(ALAN_CODE)


def test_a_whole_roster_erases_who_is_not_on_it(store: TemplateStore) -> None:
    """Whoever has left is gone with code, card and reference; the code is free for another."""
    store.put_card(CARD, ADA)
    store.put_reference(ADA, 1, CONSENT, b"reference")
    assert [ADA] == store.put_pupils([(ALAN_RECORD, ADA_CODE)], whole=True)
    assert store.pupil(ADA) is None
    assert store.find_by_card(CARD) is None
    assert ALAN_RECORD == store.find_by_code(ADA_CODE)
    assert store.reference(ADA, NOW) is ReferenceAbsence.NONE


def test_cards_are_found_and_blocked_for_good(store: TemplateStore) -> None:
    """A lost card opens nothing any more, also when somebody hands it in and it is given out again."""
    store.put_card(CARD, ADA)
    found = store.find_by_card(CARD)
    assert found is not None
    assert (ADA, False) == (found.pupil, found.blocked)
    store.block_card(CARD)
    store.block_card(CARD)
    store.put_card(CARD, ALAN)
    found = store.find_by_card(CARD)
    assert found is not None
    assert (ALAN, True) == (found.pupil, found.blocked)
    assert not store.has_card(ADA)
    assert not store.has_card(ALAN)


def test_an_unknown_card_is_remembered_as_blocked(store: TemplateStore) -> None:
    """The order to block may come before the one to assign."""
    store.block_card(OTHER_CARD)
    assert store.find_by_card(OTHER_CARD) is None
    store.put_card(OTHER_CARD, ADA)
    found = store.find_by_card(OTHER_CARD)
    assert found is not None
    assert found.blocked


def test_unknown_pupils_hold_nothing(store: TemplateStore) -> None:
    """Card, consent and reference need a pupil on the roster."""
    nobody = PupilId("p-00000000000000cc")
    with pytest.raises(UnknownPupil):
        store.put_card(CARD, nobody)
    with pytest.raises(UnknownPupil):
        store.put_consent(nobody, ConsentState.OPPOSED, None)
    with pytest.raises(UnknownPupil):
        store.put_reference(nobody, 1, CONSENT, b"reference")
    assert (ConsentState.NONE, None) == store.consent_of(nobody)
    assert not store.has_card(nobody)


def test_given_consent_needs_its_proof(store: TemplateStore) -> None:
    """A bare "given" is refused; opposition needs no proof."""
    with pytest.raises(ConsentMissing):
        store.put_consent(ADA, ConsentState.GIVEN, None)
    store.put_consent(ADA, ConsentState.OPPOSED, None)
    assert (ConsentState.OPPOSED, None) == store.consent_of(ADA)


@pytest.mark.parametrize("state", [ConsentState.OPPOSED, ConsentState.WITHDRAWN])
def test_no_reference_against_opposition(store: TemplateStore, state: ConsentState) -> None:
    """The consent gate: neither stored nor, if it was, given out for comparison."""
    store.put_reference(ADA, 1, CONSENT, b"reference")
    store.put_consent(ADA, state, None)
    assert store.reference(ADA, NOW) is ReferenceAbsence.NONE
    with pytest.raises(ConsentMissing):
        store.put_reference(ADA, 2, CONSENT, b"another")


def test_a_reference_comes_with_its_consent_where_none_is_on_record(store: TemplateStore) -> None:
    """A terminal has no consent record of its own; the consent travels with the reference."""
    assert (ConsentState.NONE, None) == store.consent_of(ADA)
    assert store.put_reference(ADA, 1, CONSENT, b"reference")
    assert StoredReference(ADA, 1, CONSENT, b"reference") == store.reference(ADA, NOW)


def test_a_replayed_reference_changes_nothing(store: TemplateStore) -> None:
    """Equal and older revisions stay out, newer ones replace."""
    assert store.put_reference(ADA, 5, CONSENT, b"five")
    assert not store.put_reference(ADA, 5, CONSENT, b"again")
    assert not store.put_reference(ADA, 4, CONSENT, b"four")
    assert StoredReference(ADA, 5, CONSENT, b"five") == store.reference(ADA, NOW)
    assert store.put_reference(ADA, 6, CONSENT, b"six")
    assert StoredReference(ADA, 6, CONSENT, b"six") == store.reference(ADA, NOW)
    assert 6 == store.reference_revision(ADA)
    assert 0 == store.reference_revision(ALAN)


def _adapted(held: StoredReference | ReferenceAbsence, to: bytes) -> StoredReference:
    assert isinstance(held, StoredReference)
    return replace(held, reference=to)


def test_a_reference_follows_its_hand(make_store: Callable[[], TemplateStore], store: TemplateStore) -> None:
    """Each time from what is held now, with its history; a restart forgets neither, a new enrolment both."""
    store.put_reference(ADA, 2, CONSENT, b"enrolled")
    first = store.reference(ADA, NOW)
    assert isinstance(first, StoredReference)
    assert store.adaptation_history(first) is None
    assert store.adapt_reference(_adapted(first, b"grown"), b"once", NOW)
    assert not store.adapt_reference(_adapted(first, b"grown otherwise"), b"from an earlier one", NOW)
    store.close()
    again = make_store()
    held = again.reference(ADA, NOW)
    assert StoredReference(ADA, 2, CONSENT, b"grown", 1) == held
    assert (ADA_RECORD, held) == again.look_up(ADA_CODE, NOW)
    assert again.adaptation_history(_adapted(held, b"grown")) == b"once"
    assert again.adapt_reference(_adapted(held, b"grown more"), b"twice", NOW)
    assert again.adaptation_history(first) is None
    assert not again.put_reference(ADA, 2, CONSENT, b"enrolled")
    assert again.put_reference(ADA, 3, CONSENT, b"enrolled anew")
    fresh = again.reference(ADA, NOW)
    assert StoredReference(ADA, 3, CONSENT, b"enrolled anew") == fresh
    assert again.adaptation_history(_adapted(fresh, b"")) is None
    again.close()


def test_nothing_follows_that_may_not_be_compared(store: TemplateStore) -> None:
    """No lease, no consent, nothing held: an adaptation that comes too late keeps nothing alive."""
    store.put_reference(ADA, 1, CONSENT, b"enrolled")
    held = _adapted(store.reference(ADA, NOW), b"grown")
    assert not store.adapt_reference(held, b"history", NOW + WEEK)
    store.put_consent(ADA, ConsentState.WITHDRAWN, None)
    with pytest.raises(ConsentMissing):
        store.adapt_reference(held, b"history", NOW)
    store.purge(ADA, Erasure.REFERENCE)
    assert not store.adapt_reference(held, b"history", NOW)
    assert store.adaptation_history(held) is None
    assert 0 == store.reference_revision(ADA)


def test_no_lease_no_comparison(make_store: Callable[[], TemplateStore]) -> None:
    """A store that never heard of a lease compares nothing."""
    store = make_store()
    store.put_pupils([(ADA_RECORD, ADA_CODE)], whole=True)
    store.put_reference(ADA, 1, CONSENT, b"reference")
    assert store.lease_until is None
    assert store.reference(ADA, NOW) is ReferenceAbsence.LEASE_EXPIRED
    store.close()


def test_the_lease_ends_and_a_clock_set_back_does_not_lengthen_it(store: TemplateStore) -> None:
    """The later of now and the high-water mark counts; a shorter lease changes nothing; a fresh one helps."""
    store.put_reference(ADA, 1, CONSENT, b"reference")
    assert isinstance(store.reference(ADA, NOW + WEEK - timedelta(seconds=1)), StoredReference)
    assert store.reference(ADA, NOW + WEEK) is ReferenceAbsence.LEASE_EXPIRED
    store.renew_lease(NOW)
    assert NOW + WEEK == store.lease_until
    store.note_instant(NOW + WEEK)
    store.note_instant(NOW)
    assert NOW + WEEK == store.high_water_mark
    assert store.reference(ADA, NOW) is ReferenceAbsence.LEASE_EXPIRED
    assert store.reference(ALAN, NOW) is ReferenceAbsence.NONE
    store.renew_lease(NOW + 2 * WEEK)
    assert isinstance(store.reference(ADA, NOW), StoredReference)


def test_purging_the_reference_leaves_the_pupil(store: TemplateStore) -> None:
    """Opposition: hand gone, code and card stay; the receipt's data say what went and that the epoch moved."""
    store.put_card(CARD, ADA)
    store.put_reference(ADA, 3, CONSENT, b"reference")
    store.put_reference(ALAN, 1, CONSENT, b"of another")
    outcome = store.purge(ADA, Erasure.REFERENCE)
    assert outcome.record_digest is not None
    assert outcome.epoch_before + 1 == outcome.epoch_after
    assert store.reference(ADA, NOW) is ReferenceAbsence.NONE
    assert 0 == store.reference_revision(ADA)
    assert ADA_RECORD == store.find_by_code(ADA_CODE)
    assert ADA_CODE == store.code_of(ADA)
    assert store.has_card(ADA)
    assert StoredReference(ALAN, 1, CONSENT, b"of another") == store.reference(ALAN, NOW)


def test_purging_everything_leaves_nothing_to_find(store: TemplateStore) -> None:
    """Departure: code, card, consent, roster entry and reference."""
    store.put_card(CARD, ADA)
    store.put_consent(ADA, ConsentState.GIVEN, CONSENT)
    store.put_reference(ADA, 3, CONSENT, b"reference")
    outcome = store.purge(ADA, Erasure.EVERYTHING)
    assert outcome.record_digest is not None
    assert store.pupil(ADA) is None
    assert store.find_by_code(ADA_CODE) is None
    assert store.code_of(ADA) is None
    assert store.find_by_card(CARD) is None
    assert (ConsentState.NONE, None) == store.consent_of(ADA)
    assert store.reference(ADA, NOW) is ReferenceAbsence.NONE


@pytest.mark.parametrize("erasure", list(Erasure))
def test_a_purge_is_idempotent(store: TemplateStore, erasure: Erasure) -> None:
    """The second time nothing is held: no digest, no new epoch. So too for a pupil never heard of."""
    store.put_reference(ADA, 3, CONSENT, b"reference")
    first = store.purge(ADA, erasure)
    second = store.purge(ADA, erasure)
    unheard_of = store.purge(PupilId("p-00000000000000cc"), erasure)
    assert (None, first.epoch_after, first.epoch_after) == (
        second.record_digest,
        second.epoch_before,
        second.epoch_after,
    )
    assert second == unheard_of


@pytest.mark.parametrize("erasure", list(Erasure))
def test_a_purged_reference_cannot_be_revived(
    make_store: Callable[[], TemplateStore], store: TemplateStore, erasure: Erasure
) -> None:
    """Sent again it stays out, also after a restart and when the pupil comes back; a new one may come in."""
    store.put_reference(ADA, 3, CONSENT, b"reference")
    store.purge(ADA, erasure)
    store.close()
    again = make_store()
    again.put_pupils([(ADA_RECORD, ADA_CODE)], whole=False)
    assert not again.put_reference(ADA, 3, CONSENT, b"reference")
    assert not again.put_reference(ADA, 2, CONSENT, b"reference")
    assert again.reference(ADA, NOW) is ReferenceAbsence.NONE
    assert again.put_reference(ADA, 4, CONSENT, b"new consent, new hand")
    again.close()


def test_documents_are_replaced(store: TemplateStore) -> None:
    """The latest content under a name counts; an unknown name is None."""
    store.put_document("devices", {"devices": []})
    store.put_document("devices", {"devices": ["é"]})
    assert {"devices": ["é"]} == store.document("devices")
    assert store.document("nothing") is None
