"""Where the epoch's secret is kept: outside the store's file, one at a time, replaced and destroyed at every purge.

A purge takes five steps, and a power cut between any two leaves the store whole (`store_file.py` does them):

    prepare   the next epoch's secret is durable beside the present one
    change    one transaction: the pupil's key goes, all others are wrapped anew, the store is in the next epoch
    rekey     every page of the file is encrypted anew, under the next epoch's file key
    fold      the write-ahead log is emptied
    settle    the earlier secret is destroyed: no older copy of the file or of its log opens any more
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from canteen.private_file import PrivateFileRefused, read_private_file, sync_folder
from templates_store.errors import KeyUnavailable, StoreRolledBack
from templates_store.sealing import KEY_BYTES

_MAGIC = b"canteen epochs 1"
_NUMBER_BYTES = 8
_ENTRY_BYTES = _NUMBER_BYTES + KEY_BYTES
_ENTRIES = 2
_DIGEST_BYTES = 32
_FILE_BYTES = len(_MAGIC) + _ENTRIES * _ENTRY_BYTES + _DIGEST_BYTES


class EpochKeeper(Protocol):
    """Keeps the secret of the present epoch, and of the next one while a purge is under way.

    Every method raises KeyUnavailable when the place it is kept in does not answer.
    """

    def kept(self) -> tuple[int, ...]:
        """The numbers of the epochs whose secrets are kept, ascending; () before the first."""
        ...

    def open(self, number: int) -> bytes:
        """The secret of epoch `number`.

        Raises:
            StoreRolledBack: it has been destroyed, or an older copy of it was put back.
        """
        ...

    def prepare(self, number: int) -> bytes:
        """A fresh secret for epoch `number`, durable when this returns; the present one is kept beside it."""
        ...

    def settle(self, number: int) -> None:
        """The store is in epoch `number`: destroy every other secret. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class FileEpochKeeper:
    """The secrets in a small file of mode 0600, replaced as a whole.

    Destroying is overwriting and forgetting. Flash may keep the old block until it is used again, and a copy of the
    whole card holds this file as it was: see SECURITY.md. A TPM does better.
    """

    path: Path

    def kept(self) -> tuple[int, ...]:
        return tuple(sorted(self._read()))

    def open(self, number: int) -> bytes:
        secret = self._read().get(number)
        if secret is None:
            raise StoreRolledBack(f"the secret of epoch {number} has been destroyed")
        return secret

    def prepare(self, number: int) -> bytes:
        kept = {earlier: secret for earlier, secret in self._read().items() if earlier < number}
        # One at most: whatever lies before the present epoch was destroyed when it was settled.
        present = dict(sorted(kept.items())[-1:])
        secret = secrets.token_bytes(KEY_BYTES)
        self._replace({**present, number: secret})
        return secret

    def settle(self, number: int) -> None:
        kept = self._read()
        if number not in kept:
            raise StoreRolledBack(f"the secret of epoch {number} has been destroyed")
        if len(kept) > 1:
            self._replace({number: kept[number]})

    def _read(self) -> dict[int, bytes]:
        if not self.path.exists():
            return {}
        try:
            content = read_private_file(self.path, _FILE_BYTES)
        except (PrivateFileRefused, OSError) as error:
            raise KeyUnavailable(f"the epoch's key cannot be used: {error}") from error
        body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            raise KeyUnavailable(f"{self.path}: the epoch's key is damaged")
        entries = {}
        for at in range(len(_MAGIC), len(body), _ENTRY_BYTES):
            number = int.from_bytes(body[at : at + _NUMBER_BYTES], "big")
            if number:
                entries[number] = body[at + _NUMBER_BYTES : at + _ENTRY_BYTES]
        return entries

    def _replace(self, entries: dict[int, bytes]) -> None:
        body = _MAGIC + b"".join(
            number.to_bytes(_NUMBER_BYTES, "big") + secret for number, secret in sorted(entries.items())
        )
        body = body.ljust(_FILE_BYTES - _DIGEST_BYTES, b"\x00")
        try:
            replace_private_file(self.path, body + hashlib.sha256(body).digest())
        except OSError as error:
            raise KeyUnavailable(f"the epoch's key cannot be written: {error.strerror}") from error


def replace_private_file(path: Path, content: bytes) -> None:
    """Puts `content` in place of the file's, whole or not at all and durably; the old bytes are overwritten.

    Raises:
        OSError: it could not be written; the old file stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()  # of a power cut; opened anew so that nobody else's handle or mode comes along
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        old = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        old = None
    try:
        draft.replace(path)
        sync_folder(path.parent)
        if old is not None:
            # Only now: before the new name is durable, the old file may be the one that a power cut leaves.
            os.pwrite(old, bytes(os.fstat(old).st_size), 0)
            os.fsync(old)
    finally:
        if old is not None:
            os.close(old)
