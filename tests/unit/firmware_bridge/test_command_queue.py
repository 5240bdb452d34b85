"""The order, the deadlines and the refusals of what is sent to the board."""

from __future__ import annotations

from dataclasses import replace

from osdp import Command, CompletionStatus

from firmware_bridge.command_queue import CommandQueue, TurnstileCommand
from firmware_bridge.devices import CommandOutcome, Signal
from firmware_bridge.osdp_messages import OsdpMessage, unlock_command


def _unlock(deadline_s: float = 1.0) -> TurnstileCommand:
    return TurnstileCommand(unlock_command(3.0), unlocks=True, deadline_s=deadline_s)


def _kind(taken: TurnstileCommand | OsdpMessage | None) -> object:
    return taken["command"] if isinstance(taken, dict) else taken


def test_the_turnstile_goes_before_the_lamp() -> None:
    """A pupil waits for the one and only looks at the other; one command is in flight at a time."""
    queue = CommandQueue()
    queue.show(Signal.GRANTED, "Bon appétit")
    command = _unlock()
    queue.put(command)
    assert queue.take() is command
    assert queue.take() is None
    assert queue.complete(CompletionStatus.Ok) is command
    assert [_kind(queue.take()), queue.complete(CompletionStatus.Ok)] == [Command.LED, None]


def test_only_the_latest_signal_counts() -> None:
    """A queue of old signals would show a pupil the answer of the one before."""
    queue = CommandQueue()
    queue.show(Signal.DENIED, "Non")
    queue.show(Signal.GRANTED, "Oui")
    texts = []
    while (taken := queue.take()) is not None:
        assert isinstance(taken, dict)
        texts += [taken["data"]] if taken["command"] == Command.Text else []
        queue.complete(CompletionStatus.Ok)
    assert texts == ["Oui"]


def test_a_lock_of_a_broken_session_is_sent_again_until_its_deadline() -> None:
    """Twice is harmless, and a gate left open is not."""
    queue = CommandQueue()
    command = replace(_unlock(deadline_s=5.0), unlocks=False)
    queue.put(command)
    queue.take()
    queue.put_back()
    queue.expire(4.9)
    assert queue.take() is command
    queue.put_back()
    queue.expire(5.0)
    assert (queue.take(), command.finished.is_set(), command.outcome) == (None, True, CommandOutcome.BOARD_LOST)


def test_an_unlock_is_never_sent_twice() -> None:
    """The first may have opened with only its reply lost: a second would let two people in on one grant."""
    queue = CommandQueue()
    command = _unlock(deadline_s=5.0)
    queue.put(command)
    queue.take()
    queue.put_back()
    assert (queue.take(), command.finished.is_set(), command.outcome) == (None, True, CommandOutcome.BOARD_LOST)


def test_a_refusal_that_goes_on_is_a_refusal() -> None:
    """One failure may be noise."""
    queue = CommandQueue()
    command = _unlock()
    queue.put(command)
    for _ in range(3):
        assert queue.take() is command
        queue.complete(CompletionStatus.Failed)
    assert (queue.take(), command.outcome) == (None, CommandOutcome.REFUSED)


def test_an_unlock_that_somebody_says_has_failed_is_not_sent_again() -> None:
    """The board's own word would be under the secure channel: without it nobody knows whether the gate opened."""
    queue = CommandQueue()
    for command, again in ((_unlock(), None), (replace(_unlock(), unlocks=False, once=True), None)):
        queue.put(command)
        queue.take()
        assert queue.complete(CompletionStatus.Failed, proven=False) is None
        assert (queue.take(), command.finished.is_set(), command.outcome) == (again, True, CommandOutcome.BOARD_LOST)
    lock = replace(_unlock(), unlocks=False)
    queue.put(lock)
    queue.take()
    queue.complete(CompletionStatus.Failed, proven=False)
    assert queue.take() is lock


def test_a_signal_the_board_does_not_have_is_given_up() -> None:
    """Else a board without a display would be thrown offline at every text, for ever."""
    queue = CommandQueue()
    sent = []
    for _ in range(4):
        queue.show(Signal.READY, "Bonjour")
        while (taken := queue.take()) is not None:
            sent.append(_kind(taken))
            queue.complete(CompletionStatus.Failed if _kind(taken) == Command.Text else CompletionStatus.Ok)
    assert sent.count(Command.Text) == 3
    assert sent.count(Command.LED) == 4


def test_a_signal_that_has_worked_is_never_given_up() -> None:
    """Noise makes failures too: the lamp must come back after it."""
    queue = CommandQueue()
    queue.show(Signal.READY, "")
    while queue.take() is not None:
        queue.complete(CompletionStatus.Ok)
    for _ in range(5):
        queue.show(Signal.READY, "")
        while queue.take() is not None:
            queue.complete(CompletionStatus.Failed)
    queue.show(Signal.READY, "")
    assert _kind(queue.take()) == Command.LED


def test_a_rebooted_board_is_shown_lamp_and_text_but_no_second_beep() -> None:
    """A beep long after its cause would tell somebody else 'denied'."""
    queue = CommandQueue()
    queue.show(Signal.DENIED, "Non")
    while queue.take() is not None:
        queue.complete(CompletionStatus.Ok)
    queue.show_again()
    kinds = []
    while (taken := queue.take()) is not None:
        kinds.append(_kind(taken))
        queue.complete(CompletionStatus.Ok)
    assert kinds == [Command.LED, Command.Text]


def test_a_loss_ends_every_wait() -> None:
    """Nobody waits for a board that is gone."""
    queue = CommandQueue()
    in_flight, waiting = _unlock(), _unlock()
    queue.put(in_flight)
    queue.put(waiting)
    queue.take()
    queue.abandon()
    assert [command.finished.is_set() for command in (in_flight, waiting)] == [True, True]
    assert queue.take() is None
