"""The twin's turnstile, and what the panel makes of contacts."""

from __future__ import annotations

from firmware_bridge.contacts import Contacts
from firmware_bridge.devices import PassageAbandoned, PassageCompleted, TamperDetected
from firmware_bridge.osdp_messages import StatusReport
from firmware_bridge.simulated_turnstile import Relocked, SimulatedTurnstile


def test_one_passage_per_unlock() -> None:
    """It turns once, then it is locked: the second person stays outside."""
    turnstile = SimulatedTurnstile()
    assert turnstile.push() is False
    turnstile.unlock(0.0, 3.0)
    assert [turnstile.push(), turnstile.push()] == [True, False]
    assert turnstile.passages == 1


def test_it_locks_by_itself_after_its_timeout() -> None:
    """Without anybody's command."""
    turnstile = SimulatedTurnstile()
    turnstile.unlock(10.0, 3.0)
    assert [turnstile.pass_time(12.9), turnstile.pass_time(13.0), turnstile.pass_time(13.1)] == [
        Relocked.NOT,
        Relocked.BY_TIMEOUT,
        Relocked.NOT,
    ]
    assert turnstile.push() is False


def test_the_latch_lasts_until_the_next_unlock() -> None:
    """A repeated unlock while open does not clear what it never set; a new one after a passage does."""
    turnstile = SimulatedTurnstile()
    turnstile.unlock(0.0, 3.0)
    turnstile.push()
    turnstile.pass_time(100.0)
    assert turnstile.passage_latched is True
    turnstile.unlock(101.0, 3.0)
    assert turnstile.passage_latched is False


def _opened() -> Contacts:
    """After an unlock that the board has confirmed and reported."""
    contacts = Contacts()
    contacts.unlocked()
    assert contacts.update(StatusReport(passage_latched=False)) + contacts.update(StatusReport(unlocked=True)) == []
    return contacts


def test_what_was_said_before_an_unlock_is_not_taken_for_its_outcome() -> None:
    """The next pupil's gate opens while the board still has the last one's passage to tell: it is nobody's again."""
    contacts = _opened()
    assert contacts.update(StatusReport(passage_latched=True)) == [PassageCompleted()]
    contacts.unlocked()
    late = [StatusReport(passage_latched=True), StatusReport(unlocked=False)]
    assert [event for report in late for event in contacts.update(report)] == []
    now = [StatusReport(passage_latched=False), StatusReport(unlocked=True), StatusReport(passage_latched=True)]
    assert [event for report in now for event in contacts.update(report)] == [PassageCompleted()]


def test_a_passage_that_a_cut_hid_is_found_in_the_new_session() -> None:
    """The report of the unlock was lost with the line; what the new session tells is fresh."""
    contacts = Contacts()
    contacts.unlocked()
    contacts.session_began()
    assert contacts.update(StatusReport(passage_latched=True)) == [PassageCompleted()]
    contacts.unlocked()
    contacts.session_began()
    assert contacts.update(StatusReport(passage_latched=False)) == []
    assert contacts.update(StatusReport(unlocked=False)) == [PassageAbandoned()]


def test_a_passage_is_told_once_however_often_it_is_reported() -> None:
    """The board repeats its contacts at every new session."""
    contacts = _opened()
    reports = [StatusReport(passage_latched=True), StatusReport(unlocked=False)] * 3
    events = [event for report in reports for event in contacts.update(report)]
    assert events == [PassageCompleted()]


def test_a_passage_during_a_short_cut_is_told_afterwards() -> None:
    """The latch survives the cut, so the completed passage is not taken for an abandoned one."""
    contacts = _opened()
    contacts.session_began()
    assert contacts.update(StatusReport(passage_latched=True)) == [PassageCompleted()]
    assert contacts.update(StatusReport(unlocked=False)) == []


def test_the_board_locking_by_itself_is_an_abandoned_passage() -> None:
    """Our own lock is not."""
    contacts = _opened()
    assert contacts.update(StatusReport(passage_latched=False)) == []
    assert contacts.update(StatusReport(unlocked=False)) == [PassageAbandoned()]
    contacts.unlocked()
    contacts.locking()
    assert contacts.update(StatusReport(unlocked=False)) == []


def test_the_first_report_after_start_or_loss_is_only_noted() -> None:
    """A passage of which nobody knows any more whose it was is no event."""
    contacts = Contacts()
    assert contacts.update(StatusReport(passage_latched=True)) == []
    contacts.unlocked()
    contacts.forget()
    assert contacts.update(StatusReport(passage_latched=True)) == []
    assert contacts.update(StatusReport(unlocked=False)) == []


def test_tamper_is_told_when_the_cover_opens() -> None:
    """Once per opening."""
    contacts = Contacts()
    states = [True, True, False, True]
    events = [event for state in states for event in contacts.update(StatusReport(tampered=state))]
    assert events == [TamperDetected(), TamperDetected()]
