"""Why a benchmark ends without figures."""

from __future__ import annotations

from canteen.errors import CanteenError


class BenchmarkFailed(CanteenError):
    """What was to be measured did not happen; the message says what, for the person who runs it."""


class LaneInterrupted(BenchmarkFailed):
    """The lane did not answer: on a busy machine the line to the board breaks off now and then, and one tries again."""
