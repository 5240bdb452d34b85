"""What Mosquitto needs from us: certificates of our authority, who may write where, and a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from billing_server.authority import Authority
from canteen.private_file import create_private_file

SERVER_NAME = "billing"
"""The common name of our own certificate; the list below knows it."""
LANE_BROKER_NAME = "lane-broker"
"""The common name of the certificate of a broker that a terminal runs (docs/lanes.md)."""

ACL = f"""\
# A device tells below its own name and listens below its own name; what neighbours tell each other all may hear.
pattern write canteen/%u/up/#
pattern read canteen/%u/down/#
pattern write canteen/%u/lane/#
pattern read canteen/+/lane/#

user {SERVER_NAME}
topic read canteen/+/up/#
topic write canteen/+/down/#

# The bridge of a broker that a terminal runs: what terminals tell each other, which each of them has signed.
user {LANE_BROKER_NAME}
topic readwrite canteen/+/lane/passes
"""


def write_broker_files(
    folder: Path, authority: Authority, revoked: Path, hosts: Sequence[str], port: int, bind: str = ""
) -> Path:
    """The broker's files in `folder`, with fresh certificates for it and for this server; its configuration file.

    Keys that are there are kept, so that it may be run again before the certificates run out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.pem").write_text(authority.certificate_pem(), encoding="ascii")
    for name, of in (("broker", list(hosts)), (SERVER_NAME, [])):
        request = _request(folder / f"{name}.key")
        (folder / f"{name}.pem").write_text(authority.issue(name, request, of).pem, encoding="ascii")
    (folder / "acl").write_text(ACL, encoding="utf-8")
    (folder / "acl").chmod(0o600)
    configuration = folder / "canteen.conf"
    configuration.write_text(
        f"""\
# For /etc/mosquitto/conf.d. Mosquitto reads the list of revoked certificates at its start alone.
per_listener_settings false
allow_anonymous false
persistence true
autosave_interval 1
autosave_on_changes true
max_inflight_messages 0
max_queued_messages 0
set_tcp_nodelay true
listener {port}{" " + bind if bind else ""}
cafile {folder / "ca.pem"}
certfile {folder / "broker.pem"}
keyfile {folder / "broker.key"}
crlfile {revoked.resolve()}
require_certificate true
use_identity_as_username true
tls_version tlsv1.2
acl_file {folder / "acl"}
""",
        encoding="utf-8",
    )
    return configuration


def _request(path: Path) -> str:
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        create_private_file(path, pem)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path}: not a P-256 key")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode("ascii")
