"""The store's file with its keys and its mark: opened, begun, finished after a power cut, moved to a new epoch.

What may lie there at a start, and what becomes of it:

    file in epoch n, secrets of n                   the rule: open
    file in epoch n, secrets of n and n+1           a purge was prepared and not begun: the secret of n+1 is destroyed
    file in epoch n+1 under the file key of n       a purge was begun: encrypt anew, fold, destroy the secret of n
    file in epoch n+1, secrets of n and n+1         the same, two steps later: fold, destroy the secret of n
    file that no kept secret opens                  an older copy, another store's file, or damage: refused by name
    file in the right epoch, behind the mark        an older copy of this epoch: opened, but no reference is compared
    file of an earlier format                       migrated, in the same steps as a purge (`migrations/`)
"""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select, update

from templates_store.change_mark import SALT_BYTES, ChangeMark, Place
from templates_store.database import (
    Driver,
    DriverError,
    create_private,
    engine_over,
    errors_named,
    fold_log,
    open_driver,
    rekey,
)
from templates_store.errors import StoreRolledBack, StoreUnavailable
from templates_store.key_source import KeySource
from templates_store.migrations import from_format_1, from_format_2
from templates_store.models import METADATA, SCHEMA_VERSION, STORE_STATE
from templates_store.pupil_keys import rewrap_pupil_keys
from templates_store.sealing import EpochKeys, derive_epoch, derive_keys

_log = logging.getLogger("canteen.store.file")

T = TypeVar("T")

_STATE = "SELECT epoch, changes, rolled_back FROM store_state"


class StoreFile:
    """One file, one connection, one lock; every write is durable when it returns."""

    def __init__(self, path: Path, key_source: KeySource) -> None:
        """Opens the file, or makes a new one, and finishes what a power cut left.

        Raises:
            StoreUnavailable: the key is missing or does not open it, the file is damaged, or a later program made it.
            StoreRolledBack: it is an older copy.
        """
        self.lock = threading.RLock()
        self._closed, self._unfinished = False, False
        is_new = not path.exists() or path.stat().st_size == 0
        self.keys = derive_keys(key_source.secret(may_create=is_new))
        self._epochs = key_source.epochs(path)
        self._path = path
        self._mark = ChangeMark(path.with_name(path.name + ".mark"), self.keys.mark)
        self.is_older_copy = False
        """Whether an older copy of the same epoch was put back; since then no reference is compared."""
        self.epoch: EpochKeys
        """The present epoch; plain attributes, since every look-up asks."""
        self._driver: Driver = None
        self._file_key = b""
        self._is_sound = True
        try:
            create_private(path)
            self._open(path, is_new=is_new)
            self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with self.lock:
            if not self._closed:
                self._closed = True
                self._mark.close()
                if self._driver is not None:
                    self._driver.close()

    def require_open(self) -> None:
        """Raises StoreUnavailable after `close`."""
        if self._closed:
            raise StoreUnavailable("the store is closed")

    def row(self, query: str, parameters: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """One row by the driver's shortest way: for what stands between a laid hand and an open gate. Hold `lock`."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if not self._is_sound:
            self._require_sound()
        try:
            # All of them, though there is one: a question that is not read to its end keeps its place in the log.
            rows: list[tuple[Any, ...]] = self._asking.execute(query, parameters).fetchall()
        except DriverError as error:
            raise StoreUnavailable(f"the store failed: {error}") from error
        return rows[0] if rows else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self.lock, errors_named(), self._engine_open().connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction; committed, durable and marked at the end."""
        with self.lock, errors_named(), self._engine_open().connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                changed_before = self._driver.total_changes
                yield connection
                if self._driver.total_changes != changed_before:
                    connection.execute(update(STORE_STATE).values(changes=STORE_STATE.c.changes + 1))
            if self._driver.total_changes != changed_before:
                self._note_place()

    def new_epoch(self, change: Callable[[Connection], T]) -> T:
        """Make `change` and leave the present epoch behind, with every older copy of the file.

        Raises:
            StoreUnavailable: nothing was changed; or it was, and the next call, or the next start, finishes it.
        """
        with self.lock:
            self.finish()
            present, number = self.epoch, self.epoch.number + 1
            fresh = derive_epoch(self.keys, number, self._epochs.prepare(number))
            try:
                with self.writing() as connection:
                    result = change(connection)
                    rewrap_pupil_keys(connection, present, fresh)
                    connection.execute(update(STORE_STATE).values(epoch=number))
            finally:
                # A commit that failed may have reached the disk all the same: the file is asked, not the exception.
                self._follow(present, fresh)
            self.finish()
            return result

    def finish(self) -> None:
        """The steps after the transaction; nothing to do where they are done. Raises StoreUnavailable."""
        with self.lock:
            if not self._unfinished:
                return
            if self._closed:
                raise StoreUnavailable("the store is closed")
            self._require_sound()
            if self._file_key != self.epoch.file:
                try:
                    rekey(self._driver, self._path, self.epoch.file)
                except StoreUnavailable:
                    # Half of SQLCipher's connection believes in the new key now; the file is as it was.
                    self._is_sound = False
                    self._require_sound()
                    raise
                self._file_key = self.epoch.file
            fold_log(self._driver)
            self._epochs.settle(self.epoch.number)
            self._unfinished = False

    # Inside

    def _engine_open(self) -> Any:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        self._require_sound()
        return self._engine

    def _require_sound(self) -> None:
        """Another connection in place of one that a failure has spoiled; raises StoreUnavailable."""
        if self._is_sound:
            return
        for file_key in (self._file_key, self.epoch.file):
            driver = open_driver(self._path, file_key)
            if driver is not None:
                self._driver.close()
                self._connected(driver, file_key)
                return
        raise StoreUnavailable("the store does not open any more")

    def _connected(self, driver: Driver, file_key: bytes) -> None:
        self._driver, self._file_key, self._is_sound = driver, file_key, True
        self._engine, self._asking = engine_over(driver), driver.cursor()

    def _follow(self, present: EpochKeys, fresh: EpochKeys) -> None:
        with errors_named():
            row = self._driver.execute(_STATE).fetchone()
        if row[0] == fresh.number:
            self.epoch, self._unfinished = fresh, True
        else:
            self.epoch = present

    def _open(self, path: Path, *, is_new: bool) -> None:
        """Finds the key that opens the file; begins an epoch where there is no store yet."""
        kept = self._epochs.kept()
        if is_new and (mark := self._mark.read()) is not None and mark.changes:
            raise StoreRolledBack("the store's file is gone or empty; to begin anew, remove its keys and its mark, too")
        if is_new:
            number = max(kept, default=0) + 1
            epoch = derive_epoch(self.keys, number, self._epochs.prepare(number))
            candidates = [(epoch.file, epoch)]
        else:
            epochs = [derive_epoch(self.keys, number, self._epochs.open(number)) for number in reversed(kept)]
            candidates = [(epoch.file, epoch) for epoch in epochs]
        for file_key, epoch in candidates:
            if self._opens(path, file_key):
                self.epoch = epoch
                return
        if not is_new and len(kept) <= 1 and self._opens(path, from_format_1.file_key(self.keys)):
            number = from_format_1.epoch(self._driver) + 1
            if kept in {(), (number,)}:
                self._migrate(number)
                return
        if self._is_of_this_store(path):
            raise StoreRolledBack("the store's file is of an earlier epoch than its keys, or its first page is damaged")
        raise StoreUnavailable("the store's key does not open its file: another store's, or damaged")

    def _opens(self, path: Path, file_key: bytes) -> bool:
        driver = open_driver(path, file_key)
        if driver is not None:
            self._connected(driver, file_key)
        return driver is not None

    def _migrate(self, number: int) -> None:
        # Where a power cut fell after the transaction, everything is wrapped under the secret that was prepared then.
        secret = self._epochs.open(number) if number in self._epochs.kept() else self._epochs.prepare(number)
        self.epoch = derive_epoch(self.keys, number, secret)
        with errors_named(), engine_over(self._driver).connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                from_format_1.migrate(connection, self.keys, self.epoch)
        _log.info("the store was brought from format 1 to format %d", SCHEMA_VERSION)

    def _prepare(self) -> None:
        with self._begun() as connection:
            version = connection.execute(select(STORE_STATE.c.schema_version)).scalar_one_or_none()
            if version == from_format_2.VERSION:
                from_format_2.migrate(connection)
                _log.info("the store was brought from format %d to format %d", version, SCHEMA_VERSION)
            state = connection.execute(
                select(
                    STORE_STATE.c.schema_version, STORE_STATE.c.epoch, STORE_STATE.c.changes, STORE_STATE.c.rolled_back
                )
            ).one_or_none()
        if state is None:
            raise StoreUnavailable("the store has lost its state")
        if state.schema_version != SCHEMA_VERSION:
            raise StoreUnavailable(
                f"the store has format {state.schema_version}; this program knows format {SCHEMA_VERSION}"
            )
        if state.epoch == self.epoch.number + 1 and state.epoch in self._epochs.kept():
            self.epoch = derive_epoch(self.keys, state.epoch, self._epochs.open(state.epoch))
        elif state.epoch != self.epoch.number:
            raise StoreRolledBack(f"the store is in epoch {state.epoch}, its keys are of epoch {self.epoch.number}")
        # Whatever of a purge is not done is done now; where nothing is left to do this is one look at the log.
        self._unfinished = True
        self.finish()
        self.is_older_copy = bool(state.rolled_back)
        self._compare_with_mark(Place(state.epoch, state.changes))

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        """A transaction in which the tables are there."""
        with errors_named(), self._engine.connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one() == 0:
                    METADATA.create_all(connection)
                    connection.execute(
                        insert(STORE_STATE).values(
                            only_row=1,
                            schema_version=SCHEMA_VERSION,
                            epoch=self.epoch.number,
                            changes=0,
                            rolled_back=False,
                            suspended=False,
                            suspended_ran_s=0.0,
                        )
                    )
                yield connection

    def _compare_with_mark(self, place: Place) -> None:
        mark = self._mark.read()
        if mark is not None and place.epoch < mark.epoch:
            raise StoreRolledBack(f"the store is in epoch {place.epoch}; it has been in epoch {mark.epoch}")
        if place.changes and (mark is None or place < mark):
            _log.error("an older copy of the store was put back: no hand is compared until a fresh lease")
            self.is_older_copy = True
            changes = max(place.changes, 0 if mark is None else mark.changes)
            with self.writing() as connection:
                connection.execute(update(STORE_STATE).values(rolled_back=True, changes=changes))
        elif mark != place:
            self._note_place()
        if self._mark.salt() != (salt := _salt(self._path)):
            self._mark.note_salt(salt)

    def forgive_rollback(self) -> None:
        """A fresh signed word has come; it was not in the older copy."""
        if self.is_older_copy:
            with self.writing() as connection:
                connection.execute(update(STORE_STATE).values(rolled_back=False))
            self.is_older_copy = False

    def _note_place(self) -> None:
        with errors_named():
            epoch, changes, _ = self._driver.execute(_STATE).fetchone()
        try:
            self._mark.write(Place(epoch, changes))
        except OSError as error:
            # The change itself is durable. A mark behind the store hides a later rollback, no more.
            _log.error("the store's mark was not written: %s", error.strerror)

    def _is_of_this_store(self, path: Path) -> bool:
        noted = self._mark.salt()
        return noted is not None and hmac.compare_digest(noted, _salt(path))


def _salt(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SALT_BYTES)
