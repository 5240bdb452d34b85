"""The configuration file: relative paths, defaults, and a sentence for each thing that cannot be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from billing_server.configuration import load_settings
from billing_server.errors import ConfigurationRefused
from canteen.access_decision import MissingEntitlement

WHOLE = """
school_name = "Collège des Tilleuls"
[database]
url = "sqlite+pysqlite:////tmp/ledger.sqlite"
[keys]
signing_key = "keys/signing"
sealing_key = "keys/sealing"
code_key = "keys/code"
operators = "/etc/operators.json"
[broker]
host = "localhost"
port = 8883
ca = "ca.pem"
certificate = "server.pem"
key = "server.key"
[policy]
purge_deadline_days = 5
passes_kept_days = 31
missing_entitlement = "serve-and-bill"
"""


def written(folder: Path, content: str) -> Path:
    path = folder / "billing.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, WHOLE))
    assert ("Collège des Tilleuls", "fr", "127.0.0.1", 8001) == (
        settings.school_name,
        settings.language,
        settings.web_host,
        settings.web_port,
    )
    assert tmp_path / "keys/signing" == settings.keys.signing_key
    assert Path("/etc/operators.json") == settings.keys.operators
    assert settings.broker is not None
    assert (8883, tmp_path / "ca.pem") == (settings.broker.port, settings.broker.ca)
    policy = settings.policy
    assert (timedelta(days=5), timedelta(days=7)) == (policy.purge_deadline, policy.lease)
    assert (timedelta(days=31), timedelta(days=365)) == (policy.passes_kept, policy.audit_kept)
    assert MissingEntitlement.SERVE_AND_BILL is policy.missing_entitlement


def test_the_database_address_is_in_no_repr(tmp_path: Path) -> None:
    """It may hold a password."""
    assert "ledger.sqlite" not in repr(load_settings(written(tmp_path, WHOLE)))


@pytest.mark.parametrize(
    ("find", "replace", "named"),
    [
        ('school_name = "Collège des Tilleuls"', "", "school_name"),
        ('school_name = "Collège des Tilleuls"', "school_name = 3", "school_name"),
        ("school_name =", 'language = "de"\nschool_name =', "language"),
        ("port = 8883", "port = 0", "port"),
        ("port = 8883", 'port = "8883"', "port"),
        ("purge_deadline_days = 5", "purge_deadline_days = 90", "purge_deadline_days"),
        ("passes_kept_days = 31", "passes_kept_days = 2", "passes_kept_days"),
        ('"serve-and-bill"', '"free-for-all"', "missing_entitlement"),
        ("[keys]", "[kees]", "[keys]"),
        ("[database]", "[database", "TOML"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, find: str, replace: str, named: str) -> None:
    with pytest.raises(ConfigurationRefused) as refused:
        load_settings(written(tmp_path, WHOLE.replace(find, replace)))
    assert named in str(refused.value)


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRefused, match="No such file"):
        load_settings(tmp_path / "none.toml")
