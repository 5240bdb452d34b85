"""Three placements become a reference, sealed for each terminal; what is wrong is said in words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from canteen.identifiers import DeviceId
from enrollment_station.enrollment import OTHER_READER, SAME_IMAGE
from enrollment_station.sentences import PLACEMENTS
from hand_geometry.acquisition import Features, Platen, acquire, decode_image
from hand_geometry.comparison import compare, decide
from hand_geometry.quality import QualityReason
from hand_geometry.reference_codec import decode_reference
from sync.errors import SealBroken
from sync.facts import ReferenceEnrolled, ReferenceSealed
from sync.orders import LeaseOrder
from sync.sealed_reference import open_reference
from templates_store.store import StoredReference
from tests.unit.enrollment_station.bench import (
    ADA,
    ALAN,
    NOON,
    STATION,
    Bench,
    PowerCut,
    Terminal,
    directory,
    placement,
    placements,
    power_cut,
)

FIRST, SECOND = Terminal(DeviceId("terminal-1")), Terminal(DeviceId("terminal-2"))


def _sealed(bench: Bench, after: int = 0) -> list[ReferenceSealed]:
    return [fact for fact in bench.facts(after) if isinstance(fact, ReferenceSealed)]


def test_each_terminal_gets_its_own_seal(bench: Bench) -> None:
    """One fact a terminal, opened by that terminal alone, with pupil, consent and the very reference kept here."""
    bench.fill(FIRST, SECOND)
    bench.consent(ADA)
    revision = bench.enroll(ADA, placements(1)).json()["revision"]
    enrolled = [fact for fact in bench.facts() if isinstance(fact, ReferenceEnrolled)]
    assert [ReferenceEnrolled(ADA, revision, "2026-09")] == enrolled
    seals = _sealed(bench)
    assert [FIRST.name, SECOND.name] == [fact.recipient for fact in seals]
    station_key = bench.station.dispatch.signing_key.verifying_key
    grant = open_reference(seals[0].sealed, STATION, FIRST.name, station_key, FIRST.opening_key)
    stored = bench.station.store.reference(ADA, NOON)
    assert isinstance(stored, StoredReference)
    assert (ADA, revision, stored.consent, stored.reference) == (
        grant.pupil,
        grant.revision,
        grant.consent,
        grant.reference,
    )
    with pytest.raises(SealBroken):
        open_reference(seals[0].sealed, STATION, SECOND.name, station_key, SECOND.opening_key)


def test_the_reference_is_of_that_hand(bench: Bench) -> None:
    """Another placement of the same hand is close to what was kept; another person's is not."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    stored = bench.station.store.reference(ADA, NOON)
    assert isinstance(stored, StoredReference)
    reference = decode_reference(stored.reference)
    own, other = (_features(placement(identity, 4)) for identity in (1, 2))
    assert decide(compare(reference, own))
    assert not decide(compare(reference, other))


def _features(image: bytes) -> Features:
    decoded = decode_image(image)
    assert decoded is not None
    features = acquire(decoded, Platen.DARK)
    assert isinstance(features, Features)
    return features


def test_the_odd_placement_is_asked_again(bench: Bench) -> None:
    """Two of one hand and one of another: 422, which of the three, and a sentence; nothing is kept."""
    bench.fill()
    bench.consent(ADA)
    answer = bench.enroll(ADA, [placement(1, 0), placement(5, 0), placement(1, 1)])
    assert 422 == answer.status_code
    assert (False, QualityReason.SAMPLES_DISAGREE.value, 2) == (
        answer.json()["enrolled"],
        answer.json()["reason"],
        answer.json()["placement"],
    )
    assert PLACEMENTS[QualityReason.SAMPLES_DISAGREE] == answer.json()["message"]
    assert 0 == bench.station.store.reference_revision(ADA)


def test_the_same_picture_twice_is_no_second_placement(bench: Bench) -> None:
    """Three copies of one file agree perfectly and say nothing."""
    bench.fill()
    bench.consent(ADA)
    answer = bench.enroll(ADA, [placement(1, 0), placement(1, 1), placement(1, 0)])
    assert (422, SAME_IMAGE, 3) == (answer.status_code, answer.json()["reason"], answer.json()["placement"])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_three_placements_are_needed(bench: Bench, count: int) -> None:
    """Fewer are refused with a reason."""
    bench.fill()
    bench.consent(ADA)
    files = placements(1)[:count] or [b""]
    answer = bench.enroll(ADA, files)
    assert (422, QualityReason.TOO_FEW_SAMPLES.value) == (answer.status_code, answer.json()["reason"])


def test_a_placement_is_judged_at_once(bench: Bench) -> None:
    """Good, or what to do better, in the reader's language; nothing is kept of it."""
    bench.fill()
    bench.consent(ADA)
    assert {"acquired": True, "reason": None, "place": None, "message": "Bonne pose."} == bench.try_placement(
        ADA, placement(1, 0)
    ).json()
    answer = bench.try_placement(ADA, b"GIF89a not a picture")
    assert (False, "unreadable_image") == (answer.json()["acquired"], answer.json()["reason"])
    english = bench.client.post(
        f"/api/eleves/{ADA}/main/essai",
        files=[("placement", ("1.jpg", b"?", "image/jpeg"))],
        headers={**bench.bearer, "Accept-Language": "en-GB,en;q=0.9"},
    )
    assert "This file is not a readable picture (JPEG or PNG)." == english.json()["message"]
    assert 0 == bench.station.store.reference_revision(ADA)


def test_every_reason_has_its_sentence() -> None:
    """A reason added to the hand's quality may not leave a pupil without words."""
    assert {*QualityReason, SAME_IMAGE, OTHER_READER} == set(PLACEMENTS)


def test_revisions_only_rise(bench: Bench) -> None:
    """Within a second, after a withdrawal, and with a clock set back: each new reference beats every replay."""
    bench.fill()
    revisions = []
    for state in ("given", "withdrawn", "given"):
        bench.consent(ADA, state)
        if state == "given":
            revisions += [bench.enroll(ADA, placements(1)).json()["revision"] for _ in range(2)]
        bench.clock.set_wall(NOON - timedelta(days=1))
    assert sorted(set(revisions)) == revisions
    assert 4 == len(revisions)


def test_a_new_terminal_gets_every_reference(bench: Bench) -> None:
    """Named for the first time, or with a new key: everything is sealed for it, and nothing for the others."""
    bench.fill(FIRST)
    for pupil, identity in ((ADA, 1), (ALAN, 2)):
        bench.consent(pupil)
        bench.enroll(pupil, placements(identity))
    before = bench.station.journal.last_sequence
    bench.apply(directory(FIRST, SECOND))
    assert [(ADA, SECOND.name), (ALAN, SECOND.name)] == [(f.pupil, f.recipient) for f in _sealed(bench, before)]
    before = bench.station.journal.last_sequence
    bench.apply(directory(FIRST, SECOND))
    assert [] == _sealed(bench, before)
    replaced = Terminal(FIRST.name)
    bench.apply(directory(replaced, SECOND))
    assert [FIRST.name, FIRST.name] == [f.recipient for f in _sealed(bench, before)]


def test_no_reference_goes_out_under_a_lapsed_lease(bench: Bench) -> None:
    """A new terminal waits until the server's word renews the lease, and then gets everything."""
    bench.fill(FIRST)
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    bench.clock.advance(8 * 24 * 3600)
    before = bench.station.journal.last_sequence
    bench.apply(directory(FIRST, SECOND))
    assert [] == _sealed(bench, before)
    assert {SECOND.name} == bench.station.work.read().terminals
    bench.apply(LeaseOrder(bench.clock.utc_now() + timedelta(days=7)))
    assert [SECOND.name] == [fact.recipient for fact in _sealed(bench, before)]
    assert not bench.station.work.read()


def test_a_kill_between_reference_and_fact_is_made_good(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference was kept when the power went: the next start tells the terminals."""
    bench.fill(FIRST)
    bench.consent(ADA)

    with monkeypatch.context() as cut:
        cut.setattr(type(bench.station.dispatch), "send_enrolled", power_cut)
        with pytest.raises(PowerCut):
            bench.station.enrollment.enroll(ADA, placements(1))
    before = bench.station.journal.last_sequence
    bench.restart()
    assert [FIRST.name] == [fact.recipient for fact in _sealed(bench, before)]
    assert not bench.station.work.read()


def test_references_can_be_sent_again(bench: Bench) -> None:
    """A terminal whose memory card was replaced asks for all of them once more."""
    bench.fill(FIRST)
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    before = bench.station.journal.last_sequence
    assert 200 == bench.post(f"/api/bornes/{FIRST.name}/references", {}).status_code
    assert [ADA] == [fact.pupil for fact in _sealed(bench, before)]
    assert 404 == bench.post("/api/bornes/terminal-9/references", {}).status_code
