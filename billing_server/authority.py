"""The school's certificate authority: lets devices through to the broker, and keeps out those that are sent away."""

from __future__ import annotations

import ipaddress
import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from billing_server.configuration import AuthoritySettings
from billing_server.errors import CannotServe, NotARequest
from canteen.clock import Clock
from canteen.private_file import create_private_file

_AUTHORITY_LASTS = timedelta(days=20 * 365)
_BACKDATED = timedelta(days=1)
"""A Pi without a battery may think it is yesterday at its first start."""

_LIST_LASTS = timedelta(days=10 * 365)
"""OpenSSL refuses every client once the list has run out: better an old list than a canteen without a broker."""

_KEY_FILE_MOST = 4096
_REQUEST_MOST = 8192


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate for a device."""

    pem: str
    serial: str
    expires_at: datetime
    key_digest: str


class Authority:
    """Its key is in a file of mode 0600 and leaves this class only as signatures."""

    def __init__(self, settings: AuthoritySettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._lock = threading.Lock()
        self._loaded: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None = None

    def certificate_pem(self) -> str:
        """What devices and the broker trust; made on first use."""
        return _pem(self._load()[1])

    def fingerprint(self) -> str:
        """SHA-256 of our certificate, in hexadecimal: by which devices know that it is another one now."""
        return self._load()[1].fingerprint(hashes.SHA256()).hex()

    def issue(self, name: str, untrusted_request: str, hosts: Sequence[str] = ()) -> Issued:
        """A certificate for the key in a PEM request, in the name of `name` whatever the request says.

        It is a client's, or with `hosts` (names and addresses) a broker's, which is a client too where it bridges.

        Raises:
            NotARequest: not a PKCS#10 request, not signed by its own key, or not a P-256 key.
        """
        if len(untrusted_request) > _REQUEST_MOST:
            raise NotARequest("not a certificate request")
        try:
            request = x509.load_pem_x509_csr(untrusted_request.encode())
            key = request.public_key()
            signed_by_its_key = request.is_signature_valid
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
            raise NotARequest("not a certificate request") from error
        if not signed_by_its_key or not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise NotARequest("a certificate request for a P-256 key is needed")
        own_key, own = self._load()
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        builder = (
            self._builder(_name(name), own.subject, self._settings.device_lasts)
            .public_key(key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if hosts:
            certificate_hosts = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(certificate_hosts, critical=False)
        certificate = builder.sign(own_key, hashes.SHA256())
        return Issued(
            _pem(certificate),
            f"{certificate.serial_number:x}",
            certificate.not_valid_after_utc,
            key_digest(certificate),
        )

    def write_revoked(self, serials: Iterable[tuple[str, datetime]]) -> None:
        """Write the list that the broker's `crlfile` names; the broker reads it at its next start or SIGHUP."""
        own_key, own = self._load()
        now = self._clock.utc_now()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(own.subject)
            .last_update(now - _BACKDATED)
            .next_update(now + _LIST_LASTS)
        )
        for serial, revoked_at in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(revoked_at)
            builder = builder.add_revoked_certificate(revoked.build())
        pem = builder.sign(own_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        draft = self._settings.revoked.with_name(self._settings.revoked.name + ".new")
        draft.write_bytes(pem)
        draft.chmod(0o644)  # public, and the broker is another user
        draft.replace(self._settings.revoked)

    def _load(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        with self._lock:
            if self._loaded is None:
                if not self._settings.certificate.exists():
                    self._make()
                self._loaded = self._read()
            return self._loaded

    def _read(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        path = self._settings.key
        try:
            status = path.lstat()
            if status.st_mode & 0o077 or status.st_size > _KEY_FILE_MOST:
                raise CannotServe(f"{path}: must be a plain file of mode 600")
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(self._settings.certificate.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise CannotServe(f"{path}: the authority's key or certificate cannot be read") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise CannotServe(f"{path}: the authority's key is not that of its certificate")
        return key, certificate

    def _make(self) -> None:
        self._settings.key.unlink(missing_ok=True)  # a first start that was cut off between the two files
        key = ec.generate_private_key(ec.SECP256R1())
        # Two authorities of one school have two names: OpenSSL looks an issuer up by it.
        name = _name(f"Canteen authority {secrets.token_hex(4)}")
        certificate = (
            self._builder(name, name, _AUTHORITY_LASTS)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        create_private_file(self._settings.key, pem)
        self._settings.certificate.parent.mkdir(parents=True, exist_ok=True)
        draft = _beside(self._settings.certificate)
        draft.write_text(_pem(certificate), encoding="ascii")
        draft.chmod(0o644)
        draft.replace(self._settings.certificate)

    def _builder(self, subject: x509.Name, issuer: x509.Name, lasts: timedelta) -> x509.CertificateBuilder:
        now = self._clock.utc_now()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + lasts)
        )


def key_digest(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key in a certificate, in hexadecimal."""
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sha256(spki).hexdigest()


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")
