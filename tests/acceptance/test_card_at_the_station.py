"""A card's life at the station, under a real PC/SC daemon: made, torn away, repaired, refused, wiped."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from canteen.credentials import CardNumber
from demo.processes import leashed
from enrollment_station.encoding import CardGiven
from enrollment_station.station_reader import ReaderTimes
from firmware_bridge.card_keys import ReadingKeys
from firmware_bridge.card_layout import CardLayout
from firmware_bridge.card_reading import SchoolCards
from firmware_bridge.devices import CardRefusal
from firmware_bridge.pcsc_service import PcscService, card_on_reader
from sync.facts import CardIssued
from tests.conftest import free_port, wait_until
from tests.unit.enrollment_station.bench import ADA, ALAN, Bench, roster
from tests.unit.enrollment_station.reader_bench import ReaderBench
from tests.virtual_reader import UAI, CardProcess, VirtualReader, virtual_reader

WHO = "Mme Delmas"
ENCODE = f"/api/eleves/{ADA}/carte/encoder"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualReader]:
    """A daemon with one virtual reader."""
    with virtual_reader(tmp_path_factory.mktemp("reader")) as made:
        yield made


@pytest.fixture
def bench(reader: VirtualReader, tmp_path: Path) -> Iterator[ReaderBench]:
    """A station that encodes on it; short times, so that waiting for nothing is bearable."""
    made = ReaderBench(tmp_path, ReaderTimes(1.5, 2.5), secret=reader.master_secret, open_service=PcscService)
    yield made
    made.close()


@pytest.fixture
def lay(reader: VirtualReader) -> Iterator[Callable[..., CardProcess]]:
    """Lays a card of a given state on the reader; taken away at the end."""
    cards: list[CardProcess] = []

    def card(state: str = "factory", generation: str = "ev1") -> CardProcess:
        cards.append(reader.card(state, generation))
        return cards[-1]

    yield card
    for card_process in cards:
        card_process.close()


def _as_a_terminal_reads(reading: ReadingKeys) -> CardNumber | CardRefusal:
    """Presented until it is read: the daemon looks at this reader every 0.4 s, so it may not know yet of a change."""
    end_s = time.monotonic() + 3
    while True:
        with card_on_reader(None, 3) as channel:
            found = SchoolCards(reading, CardLayout(UAI)).read(channel)
        if found is not CardRefusal.TORN_AWAY or time.monotonic() > end_s:
            return found
        time.sleep(0.1)


@pytest.mark.parametrize("generation", ["ev1", "ev2"])
def test_made_given_and_wiped(bench: ReaderBench, lay: Callable[..., CardProcess], generation: str) -> None:
    """A blank becomes the pupil's: the server is told the very number that a terminal reads; wiped, it is a blank."""
    lay("factory", generation)
    answer = bench.post(ENCODE, {})
    assert (200, True) == (answer.status_code, answer.json()["fresh"]), answer.text
    number = _as_a_terminal_reads(bench.keys.reading)
    assert isinstance(number, CardNumber)
    assert [(ADA, number.hexadecimal)] == bench.issued()
    assert "this-pupils" == bench.post(f"/api/eleves/{ADA}/carte/verifier", {}).json()["whose"]
    assert 200 == bench.post(f"/api/eleves/{ADA}/carte/effacer", {}).status_code
    assert CardRefusal.NOT_ENCODED == _as_a_terminal_reads(bench.keys.reading)
    assert not bench.station.store.has_card(ADA)


@pytest.mark.parametrize(("command", "phase"), [(14, "before"), (20, "during"), (30, "after"), (40, "after")])
def test_torn_away_and_repaired(bench: ReaderBench, lay: Callable[..., CardProcess], command: int, phase: str) -> None:
    """Stopped with its step and no fact; the same card once more is a card, with one fact."""
    card = lay()
    assert "ok" == card.say(f"tear {command} {phase}")
    stopped = bench.post(ENCODE, {})
    content = stopped.json()
    assert (409, "torn_away") == (stopped.status_code, content["reason"])
    assert "Reposez la même carte" in content["message"]
    assert [] == bench.issued()
    assert not bench.station.store.has_card(ADA)
    card.insert()
    assert 200 == bench.post(ENCODE, {}).status_code
    number = _as_a_terminal_reads(bench.keys.reading)
    assert isinstance(number, CardNumber)
    assert [(ADA, number.hexadecimal)] == bench.issued()


@pytest.mark.parametrize(
    ("state", "reason"), [("other-school", "other_school"), ("wrong-key", "foreign_chip"), ("copied-uid", "copied_uid")]
)
def test_a_card_of_another_school_is_left_as_it_was(
    bench: ReaderBench, lay: Callable[..., CardProcess], state: str, reason: str
) -> None:
    """Shared keys, keys of its own, or an imitation: a sentence, no fact, and the card says what it said before."""
    lay(state)
    before = _as_a_terminal_reads(bench.keys.reading)
    for act in ("encoder", "effacer"):
        answer = bench.post(f"/api/eleves/{ADA}/carte/{act}", {})
        assert (409, reason) == (answer.status_code, answer.json()["reason"])
        assert answer.json()["message"]
    assert before == _as_a_terminal_reads(bench.keys.reading)
    assert [] == bench.issued()


def test_a_half_written_card_is_finished(bench: ReaderBench, lay: Callable[..., CardProcess]) -> None:
    """Another station's power cut, for example."""
    lay("half-written")
    assert 409 == bench.post(f"/api/eleves/{ADA}/carte/verifier", {}).status_code
    assert 200 == bench.post(ENCODE, {}).status_code
    assert isinstance(_as_a_terminal_reads(bench.keys.reading), CardNumber)


def test_nobody_puts_a_card_there(bench: ReaderBench) -> None:
    """The wait ends, and says how long it was."""
    begin_s = time.monotonic()
    answer = bench.post(ENCODE, {})
    assert (409, "no-card") == (answer.status_code, answer.json()["error"])
    assert time.monotonic() - begin_s < 3
    assert [] == bench.issued()


def test_two_operators_at_once(bench: ReaderBench, lay: Callable[..., CardProcess]) -> None:
    """The second is told who is at the reader, at once; the first's card goes to the first's pupil, once."""
    other = bench.station.operators.add("M. Faure")
    answers: list[httpx.Response] = []
    first = threading.Thread(target=lambda: answers.append(bench.post(ENCODE, {})))
    first.start()
    wait_until(lambda: bench.desk.reader.progress(ADA) is not None, what="the first operator")
    asked = bench.client.get(f"/api/eleves/{ADA}/carte/etape", headers=bench.bearer).json()
    assert {"running": True, "step": "waiting"} == asked
    begin_s = time.monotonic()
    second = bench.client.post(
        f"/api/eleves/{ALAN}/carte/encoder", json={}, headers={"Authorization": f"Bearer {other}"}
    )
    assert (409, "reader-busy") == (second.status_code, second.json()["error"])
    assert WHO in second.json()["message"]
    assert time.monotonic() - begin_s < 0.5
    lay()
    first.join(10)
    assert [200] == [answer.status_code for answer in answers]
    assert [ADA] == [pupil for pupil, _ in bench.issued()]


def test_no_reader_no_daemon_and_a_daemon_that_hangs(
    reader: VirtualReader, bench: ReaderBench, lay: Callable[..., CardProcess]
) -> None:
    """Each with its sentence; afterwards, all goes on without a restart of the station."""

    def asked(reason: str) -> None:
        answer = bench.post(ENCODE, {})
        assert (503, "reader-lost", reason) == (answer.status_code, answer.json()["error"], answer.json()["reason"])
        assert answer.json()["message"]

    reader.stop_daemon()
    asked("no_service")
    reader.unplug()
    reader.start_daemon()
    asked("no_reader")
    reader.stop_daemon()
    reader.plug()
    reader.start_daemon()
    lay()
    reader.freeze_daemon()
    begin_s = time.monotonic()
    asked("stuck")
    assert time.monotonic() - begin_s < 6
    asked("stuck")
    reader.thaw_daemon()
    wait_until(lambda: bench.desk.reader.progress(ADA) is None, what="the reader to be free again")
    assert [] == bench.issued()
    assert CardGiven(fresh=True) == bench.desk.encode(ADA, WHO)


def test_uid_mode_takes_any_card(reader: VirtualReader, tmp_path: Path, lay: Callable[..., CardProcess]) -> None:
    """The chip's number is the card, whoever encoded it; the page says what that is worth."""
    bench = ReaderBench(tmp_path, ReaderTimes(3, 3), mode="uid", open_service=PcscService)
    lay("wrong-key")
    assert 200 == bench.post(f"/api/eleves/{ADA}/carte/lire", {}).status_code
    assert [(ADA, "04112233445566")] == bench.issued()
    page = bench.client.get(f"/eleves/{ADA}?lang=en", headers=bench.bearer).text
    assert "can be copied to a telephone" in page
    bench.close()
    assert reader.master_secret != bench.secret


def test_from_the_keys_to_the_terminal(tmp_path: Path, lay: Callable[..., CardProcess]) -> None:
    """The programs themselves: `card-keys`, the station, a card; a terminal with the carried file reads its number."""
    port = free_port()
    bench = Bench(tmp_path, port)
    bench.close()
    text = bench.configuration.read_text()
    cards = f'[cards]\nmode = "encode"\nuai = "{UAI}"\nmaster_key = "cards.key"\n'
    bench.configuration.write_text(f"production = false\n{text}{cards}")
    command = [sys.executable, "-m", "enrollment_station.main", "--config", str(bench.configuration)]
    subprocess.run([*command, "card-keys"], check=True, stdout=subprocess.DEVNULL, timeout=30)
    bench.put_orders(roster())
    station = subprocess.Popen(leashed(command), stderr=subprocess.PIPE, text=True)
    headers = {"Authorization": f"Bearer {bench.token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=40) as client:
        wait_until(lambda: _pupils(client), timeout_s=20, what="the station")
        card = lay()
        answer = client.post(ENCODE, json={})
        assert 200 == answer.status_code, answer.text
        reading = ReadingKeys.from_bytes((tmp_path / "card-reading.key").read_bytes())
        number = _as_a_terminal_reads(reading)
        card.close()
        waiting = threading.Thread(target=lambda: _ask_in_vain(client))
        waiting.start()
        wait_until(lambda: client.get(f"/api/eleves/{ADA}/carte/etape").json()["running"], what="the wait for a card")
        station.terminate()  # a station that waits for a card ends all the same, within systemd's 8 s
        _, log = station.communicate(timeout=7)
        waiting.join(5)
    assert 0 == station.returncode
    assert isinstance(number, CardNumber)
    for secret in (number.hexadecimal, reading.to_bytes().hex(), ADA, "Desrosiers", "Traceback"):
        assert secret not in log
    bench.open()
    with closing(bench):
        (fact,) = [fact for fact in bench.facts() if isinstance(fact, CardIssued)]
        context = {"v": 1, "what": "card", "station": "station-1", "pupil": ADA}
        assert number.hexadecimal == bench.server_seal.open(fact.sealed_card, context).decode()


def _ask_in_vain(client: httpx.Client) -> None:
    with suppress(httpx.TransportError):
        client.post(f"/api/eleves/{ADA}/carte/verifier", json={})


def _pupils(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/api/eleves").json()["pupils"])
    except httpx.TransportError:
        return False
