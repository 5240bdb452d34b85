"""kill -9 in the middle of puts and purges: the store opens, and holds before or after, never half."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from canteen.identifiers import PupilId
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource
from templates_store.store import ReferenceAbsence, StoredReference

_NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
_PUPILS = 30

_WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from pathlib import Path
from canteen.consent import Consent, GivenBy
from canteen.credentials import PersonalCode
from canteen.identifiers import PupilId
from canteen.personal_code import personal_codes
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource
from templates_store.store import Erasure, PupilRecord

folder, first_revision, how_many = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
now = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
store = EncryptedStore(folder / "store.db", FileKeySource(folder / "store.key"))
pupils = [PupilId(f"p-{n:016x}") for n in range(how_many)]
codes = [PersonalCode(digits) for digits, _ in zip(personal_codes(5), pupils)]
store.put_pupils([(PupilRecord(p, "A", "B", "C", ()), c) for p, c in zip(pupils, codes)], whole=True)
store.renew_lease(now + timedelta(days=7))
for revision, pupil in zip(count(first_revision), cycle(pupils)):
    assert store.put_reference(pupil, revision, Consent("v", GivenBy.ADULT_PUPIL, now), f"hand {revision}".encode())
    print("put", pupil, revision, flush=True)
    if revision % 3 == 0:
        store.purge(pupil, Erasure.REFERENCE)
        print("purged", pupil, revision, flush=True)
"""


def _write_until_killed(folder: Path, first_revision: int, kill_after_s: float) -> dict[str, tuple[str, int]]:
    """What the writer said of each pupil last, before kill -9 struck."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder), str(first_revision), str(_PUPILS)],
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        time.sleep(kill_after_s)
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    assert -signal.SIGKILL == writer.returncode
    last = {}
    for line in lines:
        if line.endswith("\n"):
            what, pupil, revision = line.split()
            last[pupil] = (what, int(revision))
    return last


@pytest.mark.parametrize("seed", range(2))
def test_the_store_survives_kill_9(tmp_path: Path, seed: int) -> None:
    """What was reported done is done: references are there, purged ones are not, every code still opens."""
    chance = random.Random(seed)
    revision = 1
    for _ in range(3):
        last = _write_until_killed(tmp_path, revision, chance.uniform(0.01, 0.2))
        newest = max(revision for _, revision in last.values())
        store = EncryptedStore(tmp_path / "store.db", FileKeySource(tmp_path / "store.key"))
        assert _PUPILS == len(list(store.pupils()))
        for pupil, (what, number) in last.items():
            _check(store, PupilId(pupil), what, number, newest)
        store.close()
        revision = newest + 2


def _check(store: EncryptedStore, pupil: PupilId, what: str, number: int, newest: int) -> None:
    held = store.reference(pupil, _NOW)
    assert store.code_of(pupil) is not None
    if isinstance(held, StoredReference):
        # The one after the newest may have been put without anybody having been told.
        told = {number} if what == "put" else set()
        assert held.revision in told | {newest + 1}
        assert f"hand {held.revision}".encode() == held.reference
    else:
        # So may a purge.
        assert what == "purged" or number % 3 == 0 or (newest + 1) % 3 == 0
        assert held is ReferenceAbsence.NONE
