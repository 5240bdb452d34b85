"""What the template store takes: the look-up on the way of a pass, opening, a purge; and whether any of it grows.

The floor of a look-up is what cannot be done without: one bare SQLCipher point read of a sealed reference in a file of
the same size, opened in the same way, and its AES-GCM decryption. Store and floor take turns, so that a machine that
slows down slows both.
"""

from __future__ import annotations

import gc
import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.errors import BenchmarkFailed
from benchmarks.figures import Figure, Report, median, percentile
from benchmarks.language import _
from canteen.consent import Consent, GivenBy
from canteen.credentials import PersonalCode
from canteen.entitlements import forfait_4_days, forfait_5_days
from canteen.identifiers import PupilId
from canteen.personal_code import personal_codes
from templates_store.database import Driver, open_driver
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource
from templates_store.store import Erasure, PupilRecord, StoredReference

_NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
_CONSENT = Consent("2026-09", GivenBy.LEGAL_REPRESENTATIVE, _NOW)
_REFERENCE_BYTES = 160
"""A hand as `hand_geometry` encodes it."""
_FORFAITS = (
    (forfait_4_days(_NOW.date(), _NOW.date() + timedelta(days=220)),),
    (forfait_5_days(_NOW.date(), _NOW.date() + timedelta(days=220)),),
)
_DIGITS = 7
"""A million codes: 100,000 pupils have one each."""
_BATCH = 50
"""Look-ups between two readings of the clock: one takes microseconds."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How much is measured."""

    smallest: int = 500
    largest: int = 100_000
    opened: int = 5_000
    purged: int = 2_000
    batches: int = 60
    purges: int = 12
    openings: int = 15


@dataclass(frozen=True, slots=True)
class _Filled:
    """A store with as many pupils, and a bare file of the same size beside it."""

    store: EncryptedStore
    codes: Sequence[PersonalCode]
    bare: Driver
    bare_keys: Sequence[bytes]
    key: bytes = field(repr=False)

    def close(self) -> None:
        self.store.close()
        self.bare.close()


def run_store_benchmark(settings: StoreSettings, progress: Callable[[str, int, int], None]) -> Report:
    """Measure.

    Raises:
        BenchmarkFailed: the store did not give what was put in.
    """
    with TemporaryDirectory(prefix="canteen-bench-") as folder:
        root, what = Path(folder), _("école petite et très grande")
        progress(what, 0, 3)
        small = _fill(root / "small", settings.smallest)
        progress(what, 1, 3)
        large = _fill(root / "large", settings.largest)
        progress(what, 2, 3)
        lookups = {filled: _Lookups() for filled in ("small", "large")}
        gc.collect()
        for filled in (small, large):
            _warm(filled)
        for _turn in range(settings.batches):
            lookups["small"].sample(small)
            lookups["large"].sample(large)
        progress(what, 3, 3)
        small.close()
        large.close()
        opening_ms = _time_openings(root / "opened", settings, progress)
        purge_ms, lookup_before_s, lookup_after_s, grown = _time_purges(root / "purged", settings, progress)
    return Report(
        _("Le coffre des références"),
        _figures(settings, lookups, opening_ms, purge_ms, lookup_after_s / lookup_before_s, grown),
        (
            _("Plancher : une lecture SQLCipher par clé et un déchiffrement AES-GCM, dans un fichier de même taille."),
            _("La recherche rend l'élève entier, contrôle accord et bail, et ouvre deux sceaux (clé, référence)."),
            _("Tout ce qui se lit a été lu une fois : le cache de SQLCipher tient une école entière."),
        ),
    )


@dataclass
class _Lookups:
    """Seconds a look-up, and a floor, batch by batch."""

    store_s: list[float] = field(default_factory=list)
    floor_s: list[float] = field(default_factory=list)

    def sample(self, filled: _Filled) -> None:
        """One batch of each, in processor time: nothing here waits, and a busy machine must not be measured instead."""
        asked = random.sample(range(len(filled.codes)), min(_BATCH, len(filled.codes)))
        started_s = time.thread_time()
        for index in asked:
            _look_up(filled.store, filled.codes[index])
        self.store_s.append((time.thread_time() - started_s) / len(asked))
        started_s = time.thread_time()
        for index in asked:
            _bare_look_up(filled, index)
        self.floor_s.append((time.thread_time() - started_s) / len(asked))

    @property
    def ratio(self) -> float:
        return median(self.store_s) / median(self.floor_s)


def _look_up(store: EncryptedStore, code: PersonalCode) -> None:
    found = store.look_up(code, _NOW)
    if found is None or not isinstance(found[1], StoredReference):
        raise BenchmarkFailed(_("le coffre ne rend pas ce qu'on y a mis"))


def _bare_look_up(filled: _Filled, index: int) -> None:
    (sealed,) = filled.bare.execute("SELECT sealed FROM bare WHERE key = ?", (filled.bare_keys[index],)).fetchone()
    AESGCM(filled.key).decrypt(sealed[:12], sealed[12:], b"bound")


def _warm(filled: _Filled) -> None:
    for index, code in enumerate(filled.codes):
        _look_up(filled.store, code)
        _bare_look_up(filled, index)


def _fill(folder: Path, pupils: int) -> _Filled:
    """A store with that many pupils of whom each has a reference, and the bare file."""
    store = EncryptedStore(folder / "store.db", FileKeySource(folder / "store.key"))
    codes = [PersonalCode(digits) for digits, _index in zip(personal_codes(_DIGITS), range(pupils), strict=False)]
    random.shuffle(codes)
    roster = [
        (PupilRecord(_pupil(n), f"Prénom {n % 400}", "", f"{n % 40}e", _FORFAITS[n % 2]), code)
        for n, code in enumerate(codes)
    ]
    store.put_pupils(roster, whole=True)
    _put_references(store, pupils)
    store.renew_lease(_NOW + timedelta(days=7))
    key = secrets.token_bytes(32)
    bare = open_driver(folder / "bare.db", secrets.token_bytes(32))
    if bare is None:
        raise BenchmarkFailed(_("le fichier du plancher ne s'ouvre pas"))
    bare_keys = [secrets.token_bytes(32) for _index in range(pupils)]
    bare.execute("CREATE TABLE bare (key BLOB PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID")
    bare.execute("BEGIN")
    nonce = secrets.token_bytes(12)
    sealed = nonce + AESGCM(key).encrypt(nonce, secrets.token_bytes(_REFERENCE_BYTES), b"bound")
    bare.executemany("INSERT INTO bare VALUES (?, ?)", [(one, sealed) for one in bare_keys])
    bare.execute("COMMIT")
    return _Filled(store, codes, bare, bare_keys, key)


def _put_references(store: EncryptedStore, pupils: int) -> None:
    """All in one transaction: by orders it is one each, and 100,000 of those are not what is measured."""
    store.put_references([(_pupil(n), 1, _CONSENT, secrets.token_bytes(_REFERENCE_BYTES)) for n in range(pupils)])


def _pupil(n: int) -> PupilId:
    return PupilId(f"p-{n:016x}")


def _time_openings(folder: Path, settings: StoreSettings, progress: Callable[[str, int, int], None]) -> list[float]:
    """From the closed file to the first look-up, in milliseconds."""
    filled = _fill(folder, settings.opened)
    filled.close()
    taken_ms, what = [], _("ouvertures")
    for index in range(settings.openings):
        progress(what, index, settings.openings)
        started_s = time.perf_counter()
        store = EncryptedStore(folder / "store.db", FileKeySource(folder / "store.key"))
        _look_up(store, filled.codes[index])
        taken_ms.append((time.perf_counter() - started_s) * 1000)
        store.close()
    progress(what, settings.openings, settings.openings)
    return taken_ms


def _time_purges(
    folder: Path, settings: StoreSettings, progress: Callable[[str, int, int], None]
) -> tuple[list[float], float, float, float]:
    """Each purge in milliseconds; look-ups before and after all of them; how much the files grew by the later half."""
    filled = _fill(folder, settings.purged)
    lookups, taken_ms, what = _Lookups(), [], _("effacements")
    _warm(filled)
    for _turn in range(settings.batches):
        lookups.sample(filled)
    sizes = []
    for index in range(settings.purges):
        progress(what, index, settings.purges)
        started_s = time.perf_counter()
        filled.store.purge(_pupil(index), Erasure.REFERENCE)
        taken_ms.append((time.perf_counter() - started_s) * 1000)
        filled.store.put_reference(_pupil(index), 2, _CONSENT, secrets.token_bytes(_REFERENCE_BYTES))
        sizes.append(sum(path.stat().st_size for path in folder.glob("store.db*") if path.suffix != ".db-shm"))
    progress(what, settings.purges, settings.purges)
    later = _Lookups()
    _warm(filled)
    for _turn in range(settings.batches):
        later.sample(filled)
    filled.close()
    # Ratios to the floor of their own moment: the machine may have changed its pace in between.
    return taken_ms, lookups.ratio, later.ratio, sizes[-1] / sizes[len(sizes) // 2]


def _figures(
    settings: StoreSettings,
    lookups: dict[str, _Lookups],
    opening_ms: list[float],
    purge_ms: list[float],
    after_purges: float,
    grown: float,
) -> tuple[Figure, ...]:
    small, large = lookups["small"], lookups["large"]
    # A larger file costs a bare read more, too (its pages no longer lie in the processor's cache): that is the floor's.
    flat = large.ratio / small.ratio
    grew = median(large.store_s) / median(small.store_s)

    def detail(one: _Lookups) -> str:
        return f"{median(one.store_s) * 1e6:.1f} µs / {median(one.floor_s) * 1e6:.1f} µs"

    return (
        Figure(
            "store_lookup_small",
            _("recherche par code, {pupils} élèves").format(pupils=settings.smallest),
            small.ratio,
            "ratio",
            3.0,
            detail=detail(small),
        ),
        Figure(
            "store_lookup_large",
            _("recherche par code, {pupils} élèves").format(pupils=settings.largest),
            large.ratio,
            "ratio",
            3.0,
            detail=detail(large),
        ),
        Figure(
            "store_lookup_flat",
            _("la grande école, rapportée à la petite"),
            flat,
            "ratio",
            1.3,
            detail=_("en temps {store:.2f} ×, plancher {floor:.2f} ×").format(
                store=grew, floor=median(large.floor_s) / median(small.floor_s)
            ),
        ),
        Figure(
            "store_open_ms",
            _("ouverture jusqu'à la première recherche, {pupils} élèves").format(pupils=settings.opened),
            percentile(opening_ms, 0.95),
            "ms",
            200.0,
            detail=_("médiane {median:.0f} ms").format(median=median(opening_ms)),
        ),
        Figure(
            "store_purge_ms",
            _("effacement d'un élève sur {pupils}").format(pupils=settings.purged),
            percentile(purge_ms, 0.95),
            "ms",
            1000.0,
            detail=_("médiane {median:.0f} ms").format(median=median(purge_ms)),
        ),
        Figure("store_lookup_after_purges", _("recherche après les effacements"), after_purges, "ratio", 1.3),
        Figure("store_files_grown", _("taille des fichiers après les effacements"), grown, "ratio", 1.05),
    )
