"""Nothing grows with use: a store that has been changed thousands of times is as large as one that was just filled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canteen.consent import Consent, GivenBy
from canteen.credentials import PersonalCode
from canteen.identifiers import PupilId
from canteen.personal_code import personal_codes
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource
from templates_store.store import Erasure, PupilRecord, StoredReference

NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
CONSENT = Consent("2026-09", GivenBy.ADULT_PUPIL, NOW)
PUPILS = [PupilId(f"p-{n:016x}") for n in range(40)]
CODES = [PersonalCode(digits) for digits, _ in zip(personal_codes(4), PUPILS, strict=False)]


def _size(folder: Path) -> int:
    """Of all that lies there but the log's index, whose size is fixed; the log is folded by closing."""
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.slow
def test_thousands_of_changes_leave_nothing_behind(tmp_path: Path) -> None:
    """Enrolled anew, adapted, put on the roster again, leases renewed, hands purged and put again."""
    store = EncryptedStore(tmp_path / "store.db", FileKeySource(tmp_path / "store.key"))
    roster = [(PupilRecord(pupil, "Ada", "Byron", "6e A", ()), code) for pupil, code in zip(PUPILS, CODES, strict=True)]
    sizes = []
    for turn in range(1, 13):
        store.put_pupils(roster, whole=True)
        for revision in range(turn * 10, turn * 10 + 2):
            store.put_references([(pupil, revision, CONSENT, bytes(160)) for pupil in PUPILS])
        store.renew_lease(NOW + timedelta(days=turn))
        for pupil in PUPILS:
            held = store.reference(pupil, NOW)
            assert isinstance(held, StoredReference)
            assert store.adapt_reference(replace(held, reference=bytes(160)), bytes(180), NOW)
            store.put_document("state", {"turn": turn, "pupil": pupil})
        if turn % 4 == 0:
            for pupil in PUPILS[:10]:
                store.purge(pupil, Erasure.REFERENCE)
        store.close()
        sizes.append(_size(tmp_path))
        store = EncryptedStore(tmp_path / "store.db", FileKeySource(tmp_path / "store.key"))
    store.close()
    assert 1 == len(set(sizes)), sizes
