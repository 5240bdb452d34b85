"""Any order of operations on the store gives what a plain dictionary would give, also across restarts."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from canteen.consent import Consent, ConsentState, GivenBy
from canteen.credentials import PersonalCode
from canteen.identifiers import PupilId
from canteen.personal_code import personal_codes
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import ConsentMissing
from templates_store.key_source import FileKeySource
from templates_store.store import Erasure, PupilRecord, ReferenceAbsence, StoredReference

NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
CONSENT = Consent("2026-09", GivenBy.ADULT_PUPIL, NOW)
PUPILS = [PupilId(f"p-{n:016x}") for n in range(3)]
CODES = [PersonalCode(code) for code, _ in zip(personal_codes(4), PUPILS, strict=False)]

pupils = st.sampled_from(range(len(PUPILS)))


class StoreAgainstDictionaries(RuleBasedStateMachine):
    """The store, and beside it what must be true of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.store = self._open()
        self.present: set[int] = set()
        self.consent: dict[int, ConsentState] = {}
        self.reference: dict[int, tuple[int, bytes]] = {}
        self.floor: dict[int, int] = {}

    def _open(self) -> EncryptedStore:
        return EncryptedStore(self.path / "store.db", FileKeySource(self.path / "store.key"))

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @initialize()
    def lease(self) -> None:
        self.store.renew_lease(NOW + timedelta(days=7))

    @rule(on_roster=st.sets(pupils), whole=st.booleans())
    def put_roster(self, on_roster: set[int], whole: bool) -> None:
        gone = self.store.put_pupils(
            [(PupilRecord(PUPILS[n], "A", "B", "C", ()), CODES[n]) for n in sorted(on_roster)], whole=whole
        )
        expected = self.present - on_roster if whole else set()
        assert sorted(PUPILS[n] for n in expected) == gone
        for n in expected:
            self._forget(n)
        self.present = on_roster if whole else self.present | on_roster

    @rule(n=pupils, state=st.sampled_from(list(ConsentState)))
    def consents(self, n: int, state: ConsentState) -> None:
        if n in self.present:
            self.store.put_consent(PUPILS[n], state, CONSENT if state is ConsentState.GIVEN else None)
            self.consent[n] = state

    @rule(n=pupils, revision=st.integers(1, 6), content=st.binary(max_size=200))
    def put_reference(self, n: int, revision: int, content: bytes) -> None:
        if n not in self.present:
            return
        refused = self.consent.get(n) in {ConsentState.OPPOSED, ConsentState.WITHDRAWN}
        try:
            kept = self.store.put_reference(PUPILS[n], revision, CONSENT, content)
        except ConsentMissing:
            assert refused
            return
        assert not refused
        assert kept == (revision > self.floor.get(n, 0))
        if kept:
            self.reference[n] = (revision, content)
            self.floor[n] = revision

    @rule(n=pupils, erasure=st.sampled_from(list(Erasure)))
    def purge(self, n: int, erasure: Erasure) -> None:
        held_reference = n in self.reference
        held = held_reference or (erasure is Erasure.EVERYTHING and n in self.present)
        outcome = self.store.purge(PUPILS[n], erasure)
        assert held_reference == (outcome.record_digest is not None)
        assert int(held) == outcome.epoch_after - outcome.epoch_before
        if erasure is Erasure.EVERYTHING:
            self._forget(n)
        else:
            self.reference.pop(n, None)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self._open()

    def _forget(self, n: int) -> None:
        self.present.discard(n)
        self.consent.pop(n, None)
        self.reference.pop(n, None)

    @invariant()
    def all_agrees(self) -> None:
        for n, pupil in enumerate(PUPILS):
            found = self.store.find_by_code(CODES[n])
            assert (pupil if n in self.present else None) == (None if found is None else found.pupil)
            assert (CODES[n] if n in self.present else None) == self.store.code_of(pupil)
            assert self.consent.get(n, ConsentState.NONE) == self.store.consent_of(pupil)[0]
            assert self.floor.get(n, 0) == self.store.revision_floor(pupil)
            held = self.store.reference(pupil, NOW)
            looked_up = self.store.look_up(CODES[n], NOW)
            assert (None if found is None else (found, held)) == looked_up
            if n in self.reference and self.consent.get(n) not in {ConsentState.OPPOSED, ConsentState.WITHDRAWN}:
                assert StoredReference(pupil, self.reference[n][0], CONSENT, self.reference[n][1]) == held
            else:
                assert held is ReferenceAbsence.NONE


TestStoreAgainstDictionaries = StoreAgainstDictionaries.TestCase
TestStoreAgainstDictionaries.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
