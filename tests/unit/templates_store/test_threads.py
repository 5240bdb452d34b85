"""One store, several threads: the lane reads while orders are applied."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from canteen.consent import Consent, GivenBy
from canteen.credentials import PersonalCode
from canteen.identifiers import PupilId
from canteen.personal_code import personal_codes
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource
from templates_store.store import Erasure, PupilRecord, StoredReference

_NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)


def test_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Puts, purges and look-ups at once: no error, and each reader sees its own pupil's record or none."""
    store = EncryptedStore(tmp_path / "store.db", FileKeySource(tmp_path / "store.key"))
    pupils = [PupilId(f"p-{n:016x}") for n in range(6)]
    codes = [PersonalCode(code) for code, _ in zip(personal_codes(4), pupils, strict=False)]
    store.put_pupils(
        [(PupilRecord(pupil, "A", "B", "C", ()), code) for pupil, code in zip(pupils, codes, strict=True)], whole=True
    )
    store.renew_lease(_NOW + timedelta(days=7))

    def write(n: int) -> None:
        for revision in range(1, 15):
            store.put_reference(pupils[n], revision, Consent("v", GivenBy.ADULT_PUPIL, _NOW), pupils[n].encode())
            if revision % 5 == 0:
                store.purge(pupils[n], Erasure.REFERENCE)

    def read(n: int) -> int:
        seen = 0
        for _ in range(60):
            held = store.reference(pupils[n], _NOW)
            found = store.find_by_code(codes[n])
            assert found is not None
            assert pupils[n] == found.pupil
            if isinstance(held, StoredReference):
                assert pupils[n].encode() == held.reference
                seen += 1
        return seen

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(work, n) for n in range(len(pupils)) for work in (write, read)]
        for job in jobs:
            job.result(timeout=30)
    assert 14 == store.reference_revision(pupils[0])
    store.close()
