"""Splint, other hand, plaster: what the operator asks for reaches the terminals sealed, and ends by itself."""

from __future__ import annotations

from datetime import date, timedelta

import httpx
import pytest

from canteen.identifiers import DeviceId
from hand_geometry.acquisition import Features, acquire, decode_image
from hand_geometry.comparison import DEFAULT_THRESHOLD
from hand_geometry.held_hand import HeldHand, compare_held, decode_held
from hand_geometry.landmarks import Finger
from hand_geometry.synthetic_hand import encode_jpeg
from hand_geometry.synthetic_people import Look, draw_person, picture_of
from sync.facts import ReferenceSealed
from sync.sealed_reference import open_reference
from tests.unit.enrollment_station.bench import ADA, NOON, STATION, Bench, Terminal, placement, placements

TERMINAL = Terminal(DeviceId("terminal-1"))
UNTIL = date(2026, 12, 4)


@pytest.fixture
def enrolled(bench: Bench) -> Bench:
    """Ada has consented and laid her hand; the clock has moved on."""
    bench.fill(TERMINAL)
    bench.consent(ADA)
    assert 200 == bench.enroll(ADA, placements(1)).status_code
    bench.clock.advance(60)
    return bench


def arrived(bench: Bench) -> HeldHand:
    """What the terminal opens of the latest seal."""
    sealed = [fact for fact in bench.facts() if isinstance(fact, ReferenceSealed)][-1]
    key = bench.station.dispatch.signing_key.verifying_key
    grant = open_reference(sealed.sealed, STATION, TERMINAL.name, key, TERMINAL.opening_key)
    assert bench.station.store.reference_revision(ADA) == grant.revision
    return decode_held(grant.reference)


def passes(held: HeldHand, identity: int, day: date) -> bool | None:
    """Whether a synthetic person's hand matches on a day; None: it is not compared."""
    image = decode_image(placement(identity, 7))
    assert image is not None
    seen = acquire(image)
    assert isinstance(seen, Features)
    now = NOON + timedelta(days=(day - NOON.date()).days)
    return compare_held(held, seen, now, day, DEFAULT_THRESHOLD, enrolled_at=NOON, first_try=True).matched


def enroll(bench: Bench, identity: int, query: str) -> httpx.Response:
    files = [("placement", (f"{n}.jpg", image, "image/jpeg")) for n, image in enumerate(placements(identity))]
    return bench.client.post(f"/api/eleves/{ADA}/main?{query}", files=files, headers=bench.bearer)


def page(bench: Bench) -> str:
    return bench.client.get(f"/eleves/{ADA}", headers=bench.bearer).text


def test_another_hand_for_a_while(enrolled: Bench) -> None:
    """Through the day it alone opens the gate; the day after, the usual one does, without a word from the station."""
    assert 200 == enroll(enrolled, 2, f"jusqu_au={UNTIL}").status_code
    held = arrived(enrolled)
    assert (True, False) == (passes(held, 2, UNTIL), passes(held, 1, UNTIL))
    after = UNTIL + timedelta(days=1)
    assert (False, True) == (passes(held, 2, after), passes(held, 1, after))
    assert "Jusqu’au 04/12/2026" in page(enrolled)


def test_a_splint_and_its_mask(enrolled: Bench) -> None:
    """The fingers travel within the signed reference; ended early, the usual hand is sent again as it was."""
    usual = arrived(enrolled).encoded()
    assert 200 == enroll(enrolled, 1, f"doigts=ring,little&jusqu_au={UNTIL}").status_code
    held = arrived(enrolled)
    assert held.stand_in is not None
    assert {Finger.RING, Finger.LITTLE} == held.stand_in.mask.left_out
    assert passes(held, 1, UNTIL)
    assert enrolled.post(f"/api/eleves/{ADA}/main/reprise", {}).status_code == 200
    assert usual == arrived(enrolled).encoded()
    assert 422 == enrolled.post(f"/api/eleves/{ADA}/main/reprise", {}).status_code


def test_a_finger_left_out_for_good(enrolled: Bench) -> None:
    """Without a day the masked reference is the usual one."""
    assert 200 == enroll(enrolled, 1, "doigts=middle").status_code
    held = arrived(enrolled)
    assert held.usual is not None
    assert {Finger.MIDDLE} == held.usual.mask.left_out
    assert passes(held, 1, UNTIL)


def test_a_missing_finger_is_ticked_before_the_hand_is_laid(enrolled: Bench) -> None:
    """Unticked, the station says that a finger is missing; ticked, the same picture is good, and three enroll."""
    person, look = draw_person(3), Look(missing=(int(Finger.INDEX),))
    poses = [encode_jpeg(picture_of(person, sample, look)) for sample in range(3)]
    files = [("placement", (f"{n}.jpg", image, "image/jpeg")) for n, image in enumerate(poses)]
    tried = f"/api/eleves/{ADA}/main/essai"
    refused = enrolled.client.post(tried, files=files[:1], headers=enrolled.bearer).json()
    assert (False, "Il manque un doigt : pose les cinq bien à plat.") == (refused["acquired"], refused["message"])
    assert enrolled.client.post(f"{tried}?doigts=index", files=files[:1], headers=enrolled.bearer).json()["acquired"]
    assert 422 == enrolled.client.post(f"{tried}?doigts=toe", files=files[:1], headers=enrolled.bearer).status_code
    kept = enrolled.client.post(f"/api/eleves/{ADA}/main?doigts=index", files=files, headers=enrolled.bearer)
    assert 200 == kept.status_code
    usual = arrived(enrolled).usual
    assert usual is not None
    assert {Finger.INDEX} == usual.mask.left_out


def test_a_plaster(enrolled: Bench) -> None:
    """No hand is compared through the day, the card is said to be missing, and the hand comes back by itself."""
    assert 200 == enrolled.post(f"/api/eleves/{ADA}/main/repos", {"jusqu_au": UNTIL.isoformat()}).status_code
    held = arrived(enrolled)
    assert passes(held, 1, UNTIL) is None
    assert passes(held, 1, UNTIL + timedelta(days=1))
    assert "Main au repos jusqu’au 04/12/2026" in page(enrolled)


def test_a_stand_in_alone_asks_for_the_hand_when_it_ends(bench: Bench) -> None:
    """Enrolled with a splint from the first: the day after, the pupil is on the list to be enrolled."""
    bench.fill(TERMINAL)
    bench.consent(ADA)
    assert 200 == enroll(bench, 1, f"jusqu_au={NOON.date()}").status_code
    listed = f"/eleves/{ADA}"
    assert listed not in bench.client.get("/?etat=a-reprendre", headers=bench.bearer).text
    bench.clock.advance(86400)
    assert listed in bench.client.get("/?etat=a-reprendre", headers=bench.bearer).text
    assert "reprenez la main" in page(bench)
    assert 422 == bench.post(f"/api/eleves/{ADA}/main/reprise", {}).status_code


@pytest.mark.parametrize(
    "query",
    ["doigts=thumb,little", "doigts=thumb,index,middle", "doigts=toe", "jusqu_au=2026-11-22", "jusqu_au=2031-01-01",
     "jusqu_au=tomorrow"],
)  # fmt: skip
def test_what_cannot_be(enrolled: Bench, query: str) -> None:
    """A sentence, and the reference as it was."""
    before = enrolled.station.store.reference_revision(ADA)
    answer = enroll(enrolled, 1, query)
    assert (422, "stand-in-refused") == (answer.status_code, answer.json()["error"])
    assert before == enrolled.station.store.reference_revision(ADA)


def test_no_rest_without_a_hand_or_a_consent(bench: Bench) -> None:
    """A pupil without a hand passes by card already; without consent nothing is asked of a hand at all."""
    bench.fill(TERMINAL)
    body = {"jusqu_au": UNTIL.isoformat()}
    assert 403 == bench.post(f"/api/eleves/{ADA}/main/repos", body).status_code
    bench.consent(ADA)
    assert 422 == bench.post(f"/api/eleves/{ADA}/main/repos", body).status_code
    assert 422 == bench.post(f"/api/eleves/{ADA}/main/repos", {}).status_code
