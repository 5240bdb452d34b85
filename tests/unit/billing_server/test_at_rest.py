"""What lies on the disk: no name, code or card number in clear, keys in files of their own, tables as migrated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import billing_server
from billing_server.database import SCHEMA, Database
from billing_server.errors import CodesExhausted, CodeTaken, ConfigurationRefused, VaultBroken
from billing_server.models import Base, PupilRow
from billing_server.operators import OperatorBook
from billing_server.roster import Identity, NewPupil
from billing_server.vault import Vault
from canteen.credentials import PersonalCode
from canteen.personal_code import check_digit
from canteen.private_file import PrivateFileRefused
from sync.orders import DeviceRole
from tests.unit.billing_server.ledger_bench import LedgerBench

pytest_plugins = ("tests.unit.billing_server.databases",)


def test_a_thief_of_the_database_reads_no_name_code_or_card(small_bench: LedgerBench) -> None:
    """Not even in the write-ahead log."""
    station = small_bench.device("station-1", DeviceRole.STATION)
    pupil = small_bench.pupil("Prénomrare", "Nomtrèsrare", "Classerare")
    card = small_bench.card_issued(station, pupil)
    small_bench.send(station)
    with small_bench.services.database.reading() as session:
        row = session.get_one(PupilRow, pupil)
        code = small_bench.services.pupils.code(row)
        assert code is not None
        assert code.digits.encode() not in (row.code_sealed or b"") + row.identity_sealed
    path = Path(small_bench.database_url.removeprefix("sqlite+pysqlite:///"))
    disk = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
    assert pupil.encode() in disk
    for secret in ("Prénomrare", "Nomtrèsrare", "Classerare", card.hexadecimal):
        assert secret.encode() not in disk
        assert secret.lower().encode() not in disk


def test_every_secret_has_a_file_of_mode_0600(small_bench: LedgerBench) -> None:
    small_bench.services.operators.add("Mme Roux")
    keys = small_bench.settings.keys
    files = (keys.signing_key, keys.sealing_key, keys.code_key, keys.operators)
    assert [0o600] * 4 == [path.stat().st_mode & 0o777 for path in files]
    keys.code_key.chmod(0o640)
    with pytest.raises(PrivateFileRefused):
        small_bench.restart()


def test_the_migrations_make_the_models_tables(bench: LedgerBench) -> None:
    """Column by column, on both databases."""
    with bench.services.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, Base.metadata)


def test_the_schema_this_program_expects_is_the_newest_revision() -> None:
    """A forgotten constant would leave a new revision unapplied."""
    scripts = ScriptDirectory(str(Path(billing_server.__file__).parent / "migrations"))
    assert SCHEMA == scripts.get_current_head()


def test_two_processes_may_start_at_once(tmp_path: Path) -> None:
    """The second waits for the first's migration and finds it done."""
    import threading

    url = f"sqlite+pysqlite:///{tmp_path}/ledger.sqlite"
    faults: list[Exception] = []

    def start() -> None:
        database = Database(url)
        try:
            database.upgrade()
        except Exception as error:  # noqa: BLE001 - told to the test below
            faults.append(error)
        database.close()

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == faults


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "mysql://localhost/canteen"])
def test_a_database_that_cannot_be_a_ledger_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationRefused):
        Database(url)


def test_sqlite_forces_each_commit_to_disk(small_bench: LedgerBench) -> None:
    """WAL, synchronous=FULL (2), foreign keys, and erased pages overwritten."""
    with small_bench.services.database.engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        ]
    assert ["wal", 2, 1, 1] == found


def test_a_sealed_column_cannot_be_moved_to_another_row() -> None:
    vault = Vault.from_key(bytes(32))
    sealed = vault.seal("7585", "code:p-1")
    assert "7585" == vault.open(sealed, "code:p-1")
    for broken, place in ((sealed, "code:p-2"), (sealed[:-1] + b"\x00", "code:p-1"), (b"", "code:p-1")):
        with pytest.raises(VaultBroken):
            vault.open(broken, place)
    with pytest.raises(VaultBroken):
        Vault.from_key(b"\x01" * 32).open(sealed, "code:p-1")
    assert "7585" not in repr(vault) + sealed.hex()


def test_codes_stay_sparse_and_of_one_length(small_bench: LedgerBench) -> None:
    """All of the school's codes have as many digits as the terminals wait for; too many pupils are refused."""
    pupils = replace(small_bench.services.pupils, code_length=3)
    someone = NewPupil(Identity("Zoé", "Nom", "5eB"), ())
    with small_bench.services.database.writing() as session:
        assert {3} == {len(code.digits) for _, code in pupils.add(session, [someone] * 40)}
        with pytest.raises(CodesExhausted):
            pupils.add(session, [someone] * 11)
        with pytest.raises(CodeTaken):
            pupils.add(session, [NewPupil(someone.identity, (), PersonalCode("5724"))])


def test_codes_are_never_given_twice(small_bench: LedgerBench) -> None:
    """Not to 300 pupils drawn, nor when a fixed one is asked for again."""
    services = small_bench.services
    many = [NewPupil(Identity(str(n), "Nom", "5eB"), ()) for n in range(300)]
    with services.database.writing() as session:
        codes = [code.digits for _, code in services.pupils.add(session, many)]
    assert (300, {5}) == (len(set(codes)), {len(code) for code in codes})
    assert all(check_digit(code[:-1]) == code[-1] for code in codes)
    again = NewPupil(Identity("A", "B", "5eB"), (), PersonalCode(codes[0]))
    with pytest.raises(CodeTaken), services.database.writing() as session:
        services.pupils.add(session, [again])


def test_an_operator_who_is_let_in_again_has_one_link(tmp_path: Path) -> None:
    """The earlier link is dead, the others live on."""
    book = OperatorBook(tmp_path / "operators.json")
    old, other, new = book.add("Mme Roux"), book.add("M. Blanc"), book.add("Mme Roux")
    found = [book.find(token) for token in (old, other, new, "")]
    assert [None, "M. Blanc", "Mme Roux", None] == [o and o.name for o in found]
    assert old not in (tmp_path / "operators.json").read_text()
    (tmp_path / "operators.json").write_text("{")
    with pytest.raises(ConfigurationRefused):
        book.find(new)
    with pytest.raises(ConfigurationRefused):
        book.add("  ")
