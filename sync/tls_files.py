"""A device's TLS key and certificate: made here, renewed in place, never half.

The key never leaves the device. For a renewal a second key is made beside the first; the new certificate is laid beside
the old one, and then both take their places. A power cut in between is finished at the next start.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from canteen.private_file import create_private_file
from sync.encoding import canonical
from sync.errors import MalformedMessage

RENEWAL = b"canteen certificate renewal by certificate v1"
"""The purpose under which a device's present TLS key signs its wish for another certificate."""

_BACKDATED = timedelta(days=1)
"""By so much the authority dates a certificate back."""
_RENEWED_AHEAD = timedelta(days=90)
"""A summer without a network, and then some."""
_AUTHORITIES_MOST = 3


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: whom to trust, our certificate, our key (0600)."""

    ca: Path
    certificate: Path
    key: Path

    def finish(self) -> None:
        """What a power cut left half installed."""
        if not self._new_certificate.exists():
            return
        if self._new_key.exists():
            self._new_key.replace(self.key)
        self._new_certificate.replace(self.certificate)

    def present(self) -> x509.Certificate:
        """Our certificate. Raises MalformedMessage."""
        try:
            return x509.load_pem_x509_certificate(self.certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise MalformedMessage("the certificate cannot be read") from error

    def request(self) -> str:
        """A PEM request for the key that waits for its certificate, made on first use."""
        if not self._new_key.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            create_private_file(self._new_key, pem)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "canteen device")])  # the server names us
        made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(_key(self._new_key), hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def sign(self, statement: dict[str, object]) -> bytes:
        """By our present TLS key: whoever holds the certificate asks for the next one."""
        return _key(self.key).sign(RENEWAL + b"\x00" + canonical(statement), ec.ECDSA(hashes.SHA256()))

    def install(self, certificate_pem: str, authority_pem: str) -> bool:
        """Put a fresh certificate in place of the old one; False if it is for no key of ours.

        The authority joins those that are trusted: the broker may still show a certificate of the one before.

        Raises:
            MalformedMessage: they are no certificates, or the one is not from the other.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            authority = x509.load_pem_x509_certificate(authority_pem.encode())
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise MalformedMessage("not a certificate of that authority") from error
        waits = self._new_key.exists() and _key(self._new_key).public_key() == certificate.public_key()
        stands = self.key.exists() and _key(self.key).public_key() == certificate.public_key()
        if not waits and not stands:
            return False
        self._trust(authority)
        _write(self._new_certificate if waits else self.certificate, certificate_pem)
        self.finish()
        return True

    def trusts(self, fingerprint: str) -> bool:
        """Whether our present certificate is from the authority with this SHA-256 (hexadecimal)."""
        own = self.present()
        for authority in self._authorities():
            if authority.fingerprint(hashes.SHA256()).hex() == fingerprint:
                try:
                    own.verify_directly_issued_by(authority)
                except (ValueError, TypeError, InvalidSignature):
                    return False
                return True
        return False

    def _trust(self, authority: x509.Certificate) -> None:
        others = [known for known in self._authorities() if known != authority]
        together = [authority, *others][:_AUTHORITIES_MOST]
        _write(self.ca, "".join(one.public_bytes(serialization.Encoding.PEM).decode("ascii") for one in together))

    def _authorities(self) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(self.ca.read_bytes())
        except (OSError, ValueError):
            return []

    @property
    def _new_key(self) -> Path:
        return self.key.with_name(self.key.name + ".next")

    @property
    def _new_certificate(self) -> Path:
        return self.certificate.with_name(self.certificate.name + ".next")


def is_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether it is time to ask for the next one: 90 days ahead, or in the last third of a shorter life."""
    lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc - _BACKDATED
    return now >= certificate.not_valid_after_utc - min(_RENEWED_AHEAD, lasts / 3)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise MalformedMessage(f"{path}: the TLS key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise MalformedMessage(f"{path}: not a P-256 key")
    return key


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    draft = path.with_name(path.name + ".draft")
    with draft.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.chmod(0o644)
    draft.replace(path)
