"""A real Mosquitto with mutual TLS: the certificate's name is the user, and a device writes only below its own name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from billing_server import broker_files
from demo.errors import ProgramMissing
from demo.pki import CertificateAuthority
from demo.processes import start_leashed

BROKER_NAME = "broker"
SERVER_NAME = broker_files.SERVER_NAME
LANE_BROKER_NAME = broker_files.LANE_BROKER_NAME


def find_mosquitto() -> str:
    """The path of the broker's program.

    Raises:
        ProgramMissing: it is not installed.
    """
    found = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        raise ProgramMissing("Mosquitto n'est pas installé : `sudo apt-get install mosquitto`, puis recommencez.")
    return found


def write_broker_configuration(folder: Path, port: int, authority: CertificateAuthority) -> Path:
    """Mosquitto's configuration file in `folder`, for the loopback alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    state = folder / "state"
    state.mkdir(exist_ok=True, mode=0o700)
    files = authority.issue(BROKER_NAME, server=True)
    acl = folder / "acl"
    acl.write_text(broker_files.ACL, encoding="utf-8")
    acl.chmod(0o600)
    configuration = folder / "mosquitto.conf"
    configuration.write_text(
        f"""\
per_listener_settings false
allow_anonymous false
persistence true
persistence_location {state}/
# Without these two, a kill loses what was acknowledged but not yet delivered.
autosave_interval 1
autosave_on_changes true
max_inflight_messages 0
max_queued_messages 0
set_tcp_nodelay true
log_type error
log_type warning
log_dest stderr
listener {port} 127.0.0.1
cafile {authority.certificate}
certfile {files.certificate}
keyfile {files.key}
require_certificate true
use_identity_as_username true
tls_version tlsv1.2
acl_file {acl}
{_user_line()}
""",
        encoding="utf-8",
    )
    return configuration


def start_broker(configuration: Path, log: Path) -> subprocess.Popen[bytes]:
    """Mosquitto as a child process, its messages in `log`."""
    with log.open("ab") as output:
        return start_leashed([find_mosquitto(), "-c", str(configuration)], stdout=output, stderr=output)


def _user_line() -> str:
    """Started by root, Mosquitto would become a user who cannot read the keys below a private folder."""
    import os

    return "user root" if os.geteuid() == 0 else ""
