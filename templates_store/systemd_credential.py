"""The secret as a systemd credential: decrypted by systemd with a TPM or the host's key, in memory, for one service.

In the unit: `LoadCredentialEncrypted=canteen-store-key:/etc/canteen/store-key.cred`, made once by
`head -c 32 /dev/urandom | systemd-creds encrypt --name=canteen-store-key - /etc/canteen/store-key.cred`.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from templates_store.epoch_keys import EpochKeeper
from templates_store.errors import KeyUnavailable
from templates_store.key_source import SECRET_BYTES, epochs_beside

DEFAULT_NAME = "canteen-store-key"


@dataclass(frozen=True, slots=True)
class SystemdKeySource:
    """Reads $CREDENTIALS_DIRECTORY/NAME.

    The epochs' secrets lie beside the store all the same: a service cannot replace its own credential. A copy of the
    store with its epoch file is worth nothing without the credential, which never touches the disk in the clear.
    """

    name: str = DEFAULT_NAME
    directory: Path | None = None
    """Where systemd has put it; None: as systemd says."""

    @property
    def in_the_clear(self) -> bool:
        return False

    def secret(self, *, may_create: bool) -> bytes:
        """`may_create` makes nothing: a credential is the administrator's to make."""
        del may_create
        path = self._directory() / self.name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise KeyUnavailable(f"the credential {self.name} cannot be read ({error.strerror})") from error
        try:
            status = os.fstat(descriptor)
            # 0400, or 0440 where an access list names the service's user: the group's bits are the list's mask then.
            if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o337:
                raise KeyUnavailable(f"the credential {self.name} is open to others: systemd has not made this file")
            if status.st_uid not in {os.geteuid(), 0}:
                raise KeyUnavailable(f"the credential {self.name} belongs to another user")
            content = os.read(descriptor, SECRET_BYTES + 1)
        finally:
            os.close(descriptor)
        if len(content) != SECRET_BYTES:
            raise KeyUnavailable(f"the credential {self.name} does not hold {SECRET_BYTES} bytes")
        return content

    def epochs(self, store: Path) -> EpochKeeper:
        return epochs_beside(store)

    def _directory(self) -> Path:
        if self.directory is not None:
            return self.directory
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise KeyUnavailable("systemd has given no credentials: LoadCredentialEncrypted= is missing in the unit")
        return Path(directory)
