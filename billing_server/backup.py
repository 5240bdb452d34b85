"""A backup of the whole server in one encrypted file, and the way back.

The file is age's own format (https://age-encryption.org) under a passphrase, so that `age --decrypt` opens it without
us: a gzipped tar of the database, the keys, the authority and the configuration. What comes after a restoration is the
protocol's matter: the server greets its devices, and they send again what the backup does not have.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

from pyrage import DecryptError, passphrase  # type: ignore[import-untyped]  # a Rust module
from sqlalchemy.engine import URL, make_url

from billing_server.configuration import Settings
from billing_server.database import Database
from billing_server.errors import CannotServe
from billing_server.feed_positions import leap

PASSPHRASE_LEAST = 12
_MANIFEST = "manifest.json"
_DATABASE = "database"
_FILE_MOST = 1 << 20


def write_backup(settings: Settings, configuration: Path, out: Path, secret: str, now: datetime) -> int:
    """Everything that this server is, encrypted, in `out` (0600); how many bytes.

    Raises:
        CannotServe: a file or the database cannot be read, or the passphrase is too short.
    """
    if len(secret) < PASSPHRASE_LEAST:
        raise CannotServe(f"a passphrase of {PASSPHRASE_LEAST} signs at least is needed")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        names = []
        for name, path in _files(settings, configuration):
            if path.exists():
                _add(tar, name, path.read_bytes())
                names.append(name)
        url = make_url(settings.database_url)
        _add(tar, _DATABASE, _dump(url))
        manifest = {"v": 1, "made_at": now.isoformat(), "backend": url.get_backend_name(), "files": names}
        _add(tar, _MANIFEST, json.dumps(manifest).encode())
    sealed = passphrase.encrypt(gzip.compress(packed.getvalue()), secret)
    draft = out.with_name(out.name + ".part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(sealed)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(out)
    return len(sealed)


def restore_backup(settings: Settings, configuration: Path, untrusted_file: Path, secret: str) -> datetime:
    """Put back what a backup holds, where the present configuration says; when the backup was made.

    Nothing that is there is overwritten: a server that lives is not replaced by its past. The configuration of then
    is laid beside the present one.

    Raises:
        CannotServe: wrong passphrase, not a backup, another kind of database, or something is there already.
    """
    try:
        packed = gzip.decompress(passphrase.decrypt(untrusted_file.read_bytes(), secret))
    except DecryptError as error:
        raise CannotServe(f"{untrusted_file}: not opened: a wrong passphrase, or not a whole backup") from error
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        content = {member.name: _content(tar, member) for member in tar.getmembers()}
    manifest = json.loads(content.pop(_MANIFEST))
    url = make_url(settings.database_url)
    if manifest["backend"] != url.get_backend_name():
        raise CannotServe(f"the backup is of {manifest['backend']}, and [database] url is {url.get_backend_name()}")
    targets = dict(_files(settings, configuration.with_name(configuration.name + ".of-the-backup")))
    there = [str(path) for name, path in targets.items() if name in content and path.exists()]
    if there:
        raise CannotServe(f"already there, and not overwritten: {', '.join(there)}")
    _load(url, content.pop(_DATABASE))
    for name, octets in content.items():
        path = targets.get(name)
        if path is None:
            continue  # of a later version, or of what this configuration does not name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
    _leap(settings.database_url)
    made_at: datetime = datetime.fromisoformat(manifest["made_at"])
    return made_at


def _leap(database_url: str) -> None:
    """Positions that the lost days gave out are given to nobody else."""
    database = Database(database_url)
    with database.writing() as session:
        leap(session)
    database.close()


def _files(settings: Settings, configuration: Path) -> Iterator[tuple[str, Path]]:
    """Every file but the database, under a name that does not depend on where it lies."""
    yield "configuration", configuration
    keys = settings.keys
    yield "signing-key", keys.signing_key
    yield "sealing-key", keys.sealing_key
    yield "code-key", keys.code_key
    yield "operators", keys.operators
    yield "clients", keys.clients
    if settings.authority is not None:
        yield "authority-key", settings.authority.key
        yield "authority-certificate", settings.authority.certificate
        yield "revoked", settings.authority.revoked
    if settings.broker is not None:
        yield "broker-ca", settings.broker.ca
        yield "broker-certificate", settings.broker.certificate
        yield "broker-key", settings.broker.key


def _dump(url: URL) -> bytes:
    if url.get_backend_name() == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy"
            with closing(sqlite3.connect(str(url.database))) as live, closing(sqlite3.connect(copy)) as still:
                live.backup(still)  # a state of one instant, while the server writes on
            return copy.read_bytes()
    return _postgres(url, ["pg_dump", "--format=custom", "--no-owner"], b"")


def _load(url: URL, dump: bytes) -> None:
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        if path.exists():
            raise CannotServe(f"already there, and not overwritten: {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_bytes(dump)
        return
    _postgres(url, ["pg_restore", "--no-owner", "--exit-on-error", "--single-transaction"], dump)


def _postgres(url: URL, command: list[str], stdin: bytes) -> bytes:
    """PostgreSQL's own tools; the password goes by the environment, where `ps` does not show it."""
    address = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    environment = {**os.environ, **({} if url.password is None else {"PGPASSWORD": str(url.password)})}
    try:
        done = subprocess.run(
            [*command, f"--dbname={address}"], input=stdin, capture_output=True, check=False, env=environment
        )
    except OSError as error:
        raise CannotServe(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise CannotServe(f"{command[0]}: {done.stderr.decode(errors='replace').strip()[:500]}")
    return done.stdout


def _add(tar: tarfile.TarFile, name: str, octets: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(octets), 0o600
    tar.addfile(member, io.BytesIO(octets))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None or (member.name != _DATABASE and member.size > _FILE_MOST):
        raise CannotServe("not a backup of this program")
    return file.read()
