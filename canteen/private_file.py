"""Files that hold a secret: made with mode 0600, read only if nobody else could have read them.

The one piece of file access on this floor: three packages of the floor above keep a key in a file and must not
differ in
how strictly they look at it (see docs/decisions).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from canteen.errors import CanteenError


class PrivateFileRefused(CanteenError):
    """A secret's file is missing, not a plain file, not ours, of the wrong size, or open to others.

    Attributes:
        path: the file; its content is never part of the message.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


def read_private_file(path: Path, size: int) -> bytes:
    """The `size` bytes of a file that only its owner can touch.

    Raises:
        PrivateFileRefused: the file is missing, a link, of another size, owned by another, or wider than 0600.
    """
    try:
        # O_NONBLOCK: a pipe put in the file's place must be refused below, not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise PrivateFileRefused(path, f"cannot be opened ({error.strerror})") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PrivateFileRefused(path, "is not a plain file")
        if status.st_mode & 0o077:
            raise PrivateFileRefused(path, "is open to others: chmod 600 it, and replace the key if others had access")
        if status.st_uid not in {os.geteuid(), 0}:
            raise PrivateFileRefused(path, "belongs to another user")
        content = os.read(descriptor, size + 1)
    finally:
        os.close(descriptor)
    if len(content) != size:
        raise PrivateFileRefused(path, f"does not hold {size} bytes")
    return content


def create_private_file(path: Path, content: bytes) -> None:
    """Write `content` to a new file of mode 0600 and force it to disk; whole or not at all.

    Raises:
        FileExistsError: there is one already; a key is never overwritten.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    finally:
        draft.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force the names in `folder` to disk. Raises OSError."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_or_create_private_file(path: Path, size: int) -> bytes:
    """The secret in `path`; on first use `size` random bytes are made and kept there.

    Raises:
        PrivateFileRefused: as `read_private_file`.
    """
    if not path.exists():
        try:
            create_private_file(path, os.urandom(size))
        except FileExistsError:
            pass  # another process of ours made it in between; theirs counts
    return read_private_file(path, size)
