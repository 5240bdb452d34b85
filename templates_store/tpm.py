"""Keys in a TPM 2.0: they open on this machine, started the way it was, and not once a purge has left them behind.

The store's secret is sealed with a policy on PCRs. An epoch's secret is sealed with the same policy and one more
condition: a counter in the TPM, which nothing turns back, must not have passed the epoch's limit. Settling a purge
raises the counter, and from then on yesterday's sealed blob does not unseal, wherever a copy of it lies.

The binding (tpm2-pytss, extra `[tpm]`) is imported late: a terminal without a TPM needs neither it nor its library.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canteen.private_file import PrivateFileRefused, read_private_file
from templates_store.epoch_keys import EpochKeeper, replace_private_file
from templates_store.errors import KeyUnavailable, StoreRolledBack
from templates_store.sealing import KEY_BYTES

DEFAULT_TCTI = "device:/dev/tpmrm0"
"""The kernel's resource manager: other programs may use the TPM meanwhile."""

DEFAULT_PCRS = "sha256:7"
"""The secure boot policy. PCRs 0 to 4 change with every firmware or kernel update: a school would be locked out."""

DEFAULT_COUNTER = 0x01800CA7
"""An index of the owner's range; another one for a second store on the same machine."""

_COUNTER_BYTES = 8
_FILE_BYTES = 4096
"""Blobs take some 300 bytes each; one size for all says nothing and is read whole or not at all."""


@dataclass(frozen=True, slots=True)
class Tpm:
    """How to reach the TPM, and what its policies rest on."""

    tcti: str = DEFAULT_TCTI
    pcrs: str = DEFAULT_PCRS
    counter_index: int = DEFAULT_COUNTER


@dataclass(frozen=True, slots=True)
class TpmKeySource:
    """The secret sealed by the TPM; the blob in `path` is worth nothing elsewhere."""

    path: Path
    tpm: Tpm = Tpm()

    @property
    def in_the_clear(self) -> bool:
        return False

    def secret(self, *, may_create: bool) -> bytes:
        if may_create and not self.path.exists():
            with _Session.open(self.tpm) as session:
                _write_blobs(self.path, [_Blob.sealed_by(session, 0, None, secrets.token_bytes(KEY_BYTES))])
        blobs = _read_blobs(self.path)
        if not blobs:
            raise KeyUnavailable(f"{self.path}: the store's sealed key is missing")
        with _Session.open(self.tpm) as session:
            return session.unseal(blobs[0])

    def epochs(self, store: Path) -> EpochKeeper:
        return TpmEpochKeeper(store.with_name(store.name + ".epoch"), self.tpm)


@dataclass(frozen=True, slots=True)
class TpmEpochKeeper:
    """The epochs' secrets, sealed under the counter; the file of blobs may be copied as often as one likes."""

    path: Path
    tpm: Tpm = Tpm()

    def kept(self) -> tuple[int, ...]:
        return tuple(sorted(blob.number for blob in _read_blobs(self.path)))

    def open(self, number: int) -> bytes:
        blob = self._blob(number)
        with _Session.open(self.tpm) as session:
            _refuse_passed(blob, session.counter())
            return session.unseal(blob)

    def prepare(self, number: int) -> bytes:
        # One at most: whatever lies before the present epoch was destroyed when it was settled.
        present = sorted((blob for blob in _read_blobs(self.path) if blob.number < number), key=lambda b: b.number)[-1:]
        secret = secrets.token_bytes(KEY_BYTES)
        with _Session.open(self.tpm) as session:
            # The first epoch ends with the first purge; the next one outlives that purge's raising of the counter.
            limit = session.counter() + 1 if present else session.counter()
            fresh = _Blob.sealed_by(session, number, limit, secret)
        _write_blobs(self.path, [*present, fresh])
        return secret

    def settle(self, number: int) -> None:
        blob = self._blob(number)
        assert blob.limit is not None  # noqa: S101 - an epoch's blob always has one
        with _Session.open(self.tpm) as session:
            counter = session.counter()
            _refuse_passed(blob, counter)
            while counter < blob.limit:
                counter = session.increment()
        if len(self.kept()) > 1:
            _write_blobs(self.path, [blob])

    def _blob(self, number: int) -> _Blob:
        for blob in _read_blobs(self.path):
            if blob.number == number:
                return blob
        raise StoreRolledBack(f"the secret of epoch {number} has been destroyed")


@dataclass(frozen=True, slots=True)
class _Blob:
    """What the TPM has sealed: public and private part, of which only this TPM makes the secret again."""

    number: int
    limit: int | None
    public: bytes
    private: bytes

    @classmethod
    def sealed_by(cls, session: _Session, number: int, limit: int | None, secret: bytes) -> _Blob:
        public, private = session.seal(secret, limit)
        return cls(number, limit, public, private)


def _refuse_passed(blob: _Blob, counter: int) -> None:
    if blob.limit is not None and counter > blob.limit:
        raise StoreRolledBack(f"the TPM's counter has passed epoch {blob.number}: an older copy was put back")


def _read_blobs(path: Path) -> list[_Blob]:
    if not path.exists():
        return []
    try:
        content = json.loads(read_private_file(path, _FILE_BYTES))
        return [
            _Blob(item["number"], item["limit"], base64.b64decode(item["public"]), base64.b64decode(item["private"]))
            for item in content["blobs"]
        ]
    except (PrivateFileRefused, OSError) as error:
        raise KeyUnavailable(f"the sealed key cannot be used: {error}") from error
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise KeyUnavailable(f"{path}: the sealed key is damaged") from error


def _write_blobs(path: Path, blobs: list[_Blob]) -> None:
    items = [
        {
            "number": blob.number,
            "limit": blob.limit,
            "public": base64.b64encode(blob.public).decode("ascii"),
            "private": base64.b64encode(blob.private).decode("ascii"),
        }
        for blob in blobs
    ]
    try:
        replace_private_file(path, json.dumps({"blobs": items}).encode().ljust(_FILE_BYTES))
    except OSError as error:
        raise KeyUnavailable(f"the sealed key cannot be written: {error.strerror}") from error


class _Session:
    """A conversation with the TPM under its owner's storage key, which is made anew from the TPM's seed each time."""

    def __init__(self, tpm: Tpm, library: Any, esapi: Any) -> None:
        self._tpm, self._library, self._esapi = tpm, library, esapi
        self._primary = esapi.create_primary(None, "ecc256:aes128cfb")[0]

    @classmethod
    @contextmanager
    def open(cls, tpm: Tpm) -> Iterator[_Session]:
        """Raises KeyUnavailable: no binding, no TPM, or it refuses (the machine was started otherwise)."""
        # The library under the binding prints every refusal; ours is the sentence that is raised.
        os.environ.setdefault("TSS2_LOG", "all+NONE")
        try:
            import tpm2_pytss as library  # type: ignore[import-untyped]  # has no types
        except (ImportError, RuntimeError) as error:
            raise KeyUnavailable(f"tpm2-pytss is not installed (extra [tpm]): {error}") from error
        try:
            with library.ESAPI(tpm.tcti) as esapi:
                session = cls(tpm, library, esapi)
                try:
                    yield session
                finally:
                    with contextlib.suppress(library.TSS2_Exception):
                        esapi.flush_context(session._primary)
        except library.TSS2_Exception as error:
            raise KeyUnavailable(f"the TPM refuses: {error}") from error

    def seal(self, secret: bytes, limit: int | None) -> tuple[bytes, bytes]:
        """Public and private part of `secret`, sealed to the PCRs as they are now and to the counter up to `limit`."""
        library = self._library
        with self._policy(library.TPM2_SE.TRIAL, limit) as policy:
            digest = self._esapi.policy_get_digest(policy)
        template = library.TPM2B_PUBLIC(
            library.TPMT_PUBLIC(
                type=library.TPM2_ALG.KEYEDHASH,
                nameAlg=library.TPM2_ALG.SHA256,
                # No USERWITHAUTH: nothing but the policy opens it.
                objectAttributes=library.TPMA_OBJECT.FIXEDTPM | library.TPMA_OBJECT.FIXEDPARENT,
                authPolicy=digest,
                parameters=library.TPMU_PUBLIC_PARMS(
                    keyedHashDetail=library.TPMS_KEYEDHASH_PARMS(
                        scheme=library.TPMT_KEYEDHASH_SCHEME(scheme=library.TPM2_ALG.NULL)
                    )
                ),
            )
        )
        sensitive = library.TPM2B_SENSITIVE_CREATE(library.TPMS_SENSITIVE_CREATE(data=secret))
        private, public, *_ = self._esapi.create(self._primary, sensitive, template)
        return public.marshal(), private.marshal()

    def unseal(self, blob: _Blob) -> bytes:
        """The secret."""
        library = self._library
        public, _ = library.TPM2B_PUBLIC.unmarshal(blob.public)
        private, _ = library.TPM2B_PRIVATE.unmarshal(blob.private)
        loaded = self._esapi.load(self._primary, private, public)
        try:
            with self._policy(library.TPM2_SE.POLICY, blob.limit) as policy:
                secret = bytes(self._esapi.unseal(loaded, session1=policy))
        finally:
            self._esapi.flush_context(loaded)
        if len(secret) != KEY_BYTES:
            raise KeyUnavailable("the TPM gave something that is no key")
        return secret

    def counter(self) -> int:
        """The counter's value; the counter is made where there is none."""
        return self._read_counter(self._counter_handle())

    def increment(self) -> int:
        """The counter's value after raising it by one."""
        handle = self._counter_handle()
        self._esapi.nv_increment(handle)
        return self._read_counter(handle)

    def _read_counter(self, handle: Any) -> int:
        return int.from_bytes(bytes(self._esapi.nv_read(handle, _COUNTER_BYTES)), "big")

    def _counter_handle(self) -> Any:
        library = self._library
        try:
            return self._esapi.tr_from_tpmpublic(self._tpm.counter_index)
        except library.TSS2_Exception:
            pass  # None yet. One that was removed and made again begins above the highest that there ever was.
        attributes = (
            library.TPMA_NV.AUTHREAD
            | library.TPMA_NV.AUTHWRITE
            | library.TPMA_NV.NO_DA
            | (library.TPM2_NT.COUNTER << library.TPMA_NV.TPM2_NT_SHIFT)
        )
        handle = self._esapi.nv_define_space(
            None,
            library.TPM2B_NV_PUBLIC(
                library.TPMS_NV_PUBLIC(
                    nvIndex=self._tpm.counter_index,
                    nameAlg=library.TPM2_ALG.SHA256,
                    attributes=attributes,
                    dataSize=_COUNTER_BYTES,
                )
            ),
        )
        # A policy names the counter, and its name changes once, when it is first written.
        self._esapi.nv_increment(handle)
        return handle

    @contextmanager
    def _policy(self, kind: Any, limit: int | None) -> Iterator[Any]:
        library = self._library
        # Salted with the storage key and encrypting: whoever taps the wires of the TPM does not read the secret there.
        policy = self._esapi.start_auth_session(
            self._primary, library.ESYS_TR.NONE, kind, "aes128cfb", library.TPM2_ALG.SHA256
        )
        try:
            if kind == library.TPM2_SE.POLICY:
                wanted = library.TPMA_SESSION.ENCRYPT | library.TPMA_SESSION.CONTINUESESSION
                self._esapi.trsess_set_attributes(policy, wanted)
            self._esapi.policy_pcr(policy, None, self._tpm.pcrs)
            if limit is not None:
                handle = self._counter_handle()
                self._esapi.policy_nv(
                    handle,
                    handle,
                    policy,
                    library.TPM2B_OPERAND(limit.to_bytes(_COUNTER_BYTES, "big")),
                    library.TPM2_EO.UNSIGNED_LE,
                )
            yield policy
        finally:
            self._esapi.flush_context(policy)
