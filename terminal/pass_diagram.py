"""Draws `docs/pass-machine.md` from the table: `python -m terminal.pass_diagram > docs/pass-machine.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from terminal.pass_machine import DEADLINES_S, HAND_TRIES, IGNORED, TABLE, Event, State

_INTRODUCTION = f"""\
# The pass machine

Drawn from the table at the end of `terminal/pass_machine.py` by `python -m terminal.pass_diagram`; a test holds this
page and the table equal. Do not edit it here.

An action may report an event of its own (`decide` reports `access-granted`, `journal-grant` may report
`journal-failed`). The rest of its row is then left out and that event comes next, before anything from outside.
`unlock` follows `journal-grant` in every row in which it stands, so nothing opens that is not on disk. A pupil has
{HAND_TRIES} placements of the hand within one attempt, and as many attempts as it takes. `board-lost`, `emergency`,
`fault` and `stopping` lead to `out-of-service` from every state; the diagram leaves those four out, the table below
does not.
"""

_LEFT_OUT = frozenset({Event.BOARD_LOST, Event.EMERGENCY, Event.FAULT, Event.STOPPING})


def draw() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_diagram(), "", *_rows(), "", *_deadlines(), "", *_ignored(), ""])


def _diagram() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {_name(State.OUT_OF_SERVICE)}"
    arrows: dict[tuple[State, State], list[str]] = {}
    for (state, event), row in TABLE.items():
        if event not in _LEFT_OUT:
            arrows.setdefault((state, row.target), []).append(event.value)
    for (state, target), events in arrows.items():
        yield f"    {_name(state)} --> {_name(target)}: {', '.join(events)}"
    yield "```"


def _rows() -> Iterator[str]:
    yield "| state | event | next state | actions, in order |"
    yield "|---|---|---|---|"
    for (state, event), row in TABLE.items():
        actions = ", ".join(action.value for action in row.actions)
        yield f"| {state.value} | {event.value} | {row.target.value} | {actions} |"


def _deadlines() -> Iterator[str]:
    yield "## Deadlines"
    yield ""
    yield "| state | seconds until `deadline` |"
    yield "|---|---|"
    for state in State:
        lasts_s = DEADLINES_S.get(state)
        yield f"| {state.value} | {'none' if lasts_s is None else f'{lasts_s:g}'} |"
    yield ""
    yield "`passage-open` lasts as long as configured, and a grace: the board locks by itself first and says so."


def _ignored() -> Iterator[str]:
    yield "## Ignored"
    yield ""
    yield "| state | events that change nothing |"
    yield "|---|---|"
    for state in State:
        yield f"| {state.value} | {', '.join(event.value for event in Event if event in IGNORED[state])} |"


def _name(state: State) -> str:
    return state.value.replace("-", "_")


if __name__ == "__main__":
    sys.stdout.write(draw())
