"""No hand without a consent that stands: in the code path, on every way to it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from canteen.consent import ConsentState, GivenBy
from canteen.identifiers import PupilId
from enrollment_station.consents import ConsentForm
from enrollment_station.errors import ConsentRequired, PupilNotFound
from hand_geometry.mask import Mask
from sync.facts import ConsentRecorded, PurgeReceipt, ReferenceEnrolled, ReferenceSealed
from templates_store.store import ReferenceAbsence, StoredReference
from tests.unit.enrollment_station.bench import ADA, NOON, Bench, PowerCut, placements, power_cut


@pytest.mark.parametrize("state", ["none", "opposed", "withdrawn"])
def test_no_capture_without_consent(bench: Bench, state: str) -> None:
    """403 with a sentence on both routes, nothing kept, no fact of a hand, and a line in the audit log."""
    bench.fill()
    if state != "none":
        assert 200 == bench.consent(ADA, state).status_code
    for answer in (bench.enroll(ADA, placements(1)), bench.try_placement(ADA, placements(1)[0])):
        assert 403 == answer.status_code
        assert ("consent-required", state) == (answer.json()["error"], answer.json()["state"])
        assert answer.json()["message"]
    assert 0 == bench.station.store.reference_revision(ADA)
    assert not [fact for fact in bench.facts() if isinstance(fact, ReferenceEnrolled | ReferenceSealed)]
    assert 2 == [entry.action.value for entry in bench.station.audit.entries()].count("capture-forbidden")


@pytest.mark.parametrize("state", [ConsentState.NONE, ConsentState.OPPOSED, ConsentState.WITHDRAWN])
def test_the_desk_itself_refuses(bench: Bench, state: ConsentState) -> None:
    """Not only the route: whoever calls the desk, without any page, is refused before a picture is decoded."""
    bench.fill()
    if state is not ConsentState.NONE:
        bench.station.store.put_consent(ADA, state, None)
    with pytest.raises(ConsentRequired) as refusal:
        bench.station.enrollment.enroll(ADA, placements(1))
    assert state is refusal.value.state
    with pytest.raises(ConsentRequired):
        bench.station.enrollment.try_placement(ADA, placements(1)[0])
    with pytest.raises(PupilNotFound):
        bench.station.enrollment.enroll(PupilId("p-ffffffffffffffff"), placements(1))


def test_with_consent_the_hand_is_enrolled(bench: Bench) -> None:
    """Consent, three placements, a reference under that consent."""
    bench.fill()
    assert {"state": "given", "given_at": NOON.isoformat()} == bench.consent(ADA).json()
    answer = bench.enroll(ADA, placements(1))
    assert 200 == answer.status_code
    assert answer.json()["enrolled"]
    stored = bench.station.store.reference(ADA, NOON)
    assert isinstance(stored, StoredReference)
    assert answer.json()["revision"] == stored.revision
    assert "2026-09" == stored.consent.notice_version


def test_consent_that_ends_while_we_measure_ends_the_enrolment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate is asked again right before the reference is kept."""
    bench.fill()
    bench.consent(ADA)
    desk = bench.station.enrollment
    measure = type(desk)._measure

    def measure_and_lose_consent(_: object, image: bytes, mask: Mask) -> object:
        bench.station.store.put_consent(ADA, ConsentState.WITHDRAWN, None)
        return measure(desk, image, mask)

    monkeypatch.setattr(type(desk), "_measure", measure_and_lose_consent)
    assert 403 == bench.enroll(ADA, placements(1)).status_code
    assert 0 == bench.station.store.reference_revision(ADA)


@pytest.mark.parametrize("state", ["opposed", "withdrawn"])
def test_the_end_of_consent_erases_here_at_once(bench: Bench, state: str) -> None:
    """The station's own reference is gone before the answer; the fact is in the journal; the gate is shut."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))
    before = bench.station.journal.last_sequence
    assert 200 == bench.consent(ADA, state).status_code
    assert bench.station.store.reference(ADA, NOON) is ReferenceAbsence.NONE
    assert 0 == bench.station.store.reference_revision(ADA)
    (fact,) = bench.facts(before)
    assert isinstance(fact, ConsentRecorded)
    assert (ADA, state, "Mme Delmas") == (fact.pupil, fact.state.value, fact.recorded_by)
    assert 403 == bench.enroll(ADA, placements(1)).status_code


def test_a_withdrawal_is_always_later_than_the_consent_it_ends(bench: Bench) -> None:
    """The server goes by the latest instant: a withdrawal must win, whatever date the form bears or the clock says."""
    bench.fill()
    bench.consent(ADA)
    bench.clock.set_wall(NOON - timedelta(hours=3))
    assert 200 == bench.consent(ADA, "withdrawn", signed_on="2026-11-20").status_code
    given, withdrawn = [fact for fact in bench.facts() if isinstance(fact, ConsentRecorded)]
    assert withdrawn.given_at > given.given_at


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"state": "none"}, 422),
        ({"state": "maybe"}, 422),
        ({"notice_version": "  "}, 422),
        ({"notice_version": "x" * 41}, 422),
        ({"notice_version": "a\u0000b"}, 422),
        ({"given_by": "a friend"}, 422),
        ({"signed_on": "2026-11-24"}, 422),
        ({"signed_on": "hier"}, 422),
        ({"signed_on": "2026-11-20"}, 200),
    ],
)
def test_a_form_is_checked(bench: Bench, change: dict[str, str], status: int) -> None:
    """Incomplete, unknown or dated ahead is refused with a sentence and leaves no fact; an earlier date is fine."""
    bench.fill()
    answer = bench.consent(ADA, **{"state": "given", **change})
    assert status == answer.status_code
    consents = [fact for fact in bench.facts() if isinstance(fact, ConsentRecorded)]
    assert int(status == 200) == len(consents)
    if status == 200:
        assert "2026-11-20T11:00:00+00:00" == answer.json()["given_at"]
    else:
        assert answer.json()["message"]


def test_an_older_form_does_not_undo_a_newer_answer(bench: Bench) -> None:
    """A consent form of last week found after today's opposition changes nothing."""
    bench.fill()
    bench.consent(ADA, "opposed")
    assert 422 == bench.consent(ADA, "given", signed_on="2026-11-16").status_code
    assert ConsentState.OPPOSED is bench.station.store.consent_of(ADA)[0]
    assert not [fact for fact in bench.facts() if isinstance(fact, PurgeReceipt)]


def test_a_kill_between_consent_and_its_fact_is_made_good(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The withdrawal was begun when the power went: the next start erases and says so."""
    bench.fill()
    bench.consent(ADA)
    bench.enroll(ADA, placements(1))

    form = ConsentForm(ConsentState.WITHDRAWN, "2026-09", GivenBy.LEGAL_REPRESENTATIVE)
    with monkeypatch.context() as cut:
        cut.setattr(type(bench.station.store), "purge", power_cut)
        with pytest.raises(PowerCut):
            bench.station.consents.take(ADA, form, "Mme Delmas")
    before = bench.station.journal.last_sequence
    bench.restart()
    assert 0 == bench.station.store.reference_revision(ADA)
    (fact,) = bench.facts(before)
    assert isinstance(fact, ConsentRecorded)
    assert ConsentState.WITHDRAWN is fact.state
    assert not bench.station.work.read()
