"""The page about the stick: asked for, and told what became of it."""

from __future__ import annotations

import pytest

from sync.order_box import StickVisit
from tests.unit.enrollment_station.bench import Bench


def test_an_exchange_is_asked_for(bench: Bench) -> None:
    """The wish goes to the program with the network; until it is done the page looks again by itself."""
    assert "Aucune clé" in bench.client.get("/cle", headers=bench.bearer).text
    answer = bench.client.post("/cle", headers=bench.bearer)
    assert (303, "/cle") == (answer.status_code, answer.headers["location"])
    assert bench.station.box.stick_asked
    waiting = bench.client.get("/cle", headers=bench.bearer).text
    assert "Un instant…" in waiting
    assert 'http-equiv="refresh"' in waiting


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ("", "12 lignes du journal à porter au serveur, 3 messages du serveur repris, 1 refusés"),
        ("no-stick", "Pas de clé USB avec un dossier « canteen »"),
        ("no-seal", "server_sealing_key manque"),
        ("<Input/output error>", "(&lt;Input/output error&gt;)"),
    ],
)
def test_what_became_of_it(bench: Bench, trouble: str, sentence: str) -> None:
    bench.station.box.note_stick(StickVisit(bench.station.recorder.now(), 3, 1, 12, trouble))
    page = bench.client.get("/cle", headers=bench.bearer).text
    assert sentence in page
    assert "refresh" not in page
