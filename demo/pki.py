"""A school's certificate authority, made on the first run: one for the broker, one for each device and the server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from canteen.private_file import create_private_file

_VALID_FOR = timedelta(days=825)
_BACKDATED = timedelta(days=1)
"""A Pi without a battery may think it is yesterday at its first start."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files of one identity; the key has mode 0600."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """Keeps its key in `folder` and issues what is missing there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "ca.pem"
        self._key_path = folder / "ca.key"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.certificate.exists():
            self._key_path.unlink(missing_ok=True)  # a first start that was cut off between the two files
            self._make()
        self._key = serialization.load_pem_private_key(self._key_path.read_bytes(), None)
        self._name = x509.load_pem_x509_certificate(self.certificate.read_bytes()).subject

    def issue(self, common_name: str, *, server: bool = False) -> CertificateFiles:
        """The files of `common_name`, made if they are not there; a server's is for localhost."""
        files = CertificateFiles(self._folder / f"{common_name}.pem", self._folder / f"{common_name}.key")
        if files.certificate.exists() and files.key.exists():
            return files
        files.key.unlink(missing_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if server:
            usage.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)  # and a client's: a broker bridges to another one
        builder = self._builder(_name(common_name), key.public_key()).add_extension(
            x509.ExtendedKeyUsage(usage), critical=False
        )
        if server:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
                ),
                critical=False,
            )
        _write_key(files.key, key)
        files.certificate.write_bytes(self._sign(builder))
        return files

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._key, self._name = key, _name("Canteen demonstration CA")
        builder = self._builder(self._name, key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        _write_key(self._key_path, key)
        self.certificate.write_bytes(self._sign(builder))

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _VALID_FOR)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is not an elliptic-curve key")
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    create_private_file(path, pem)
