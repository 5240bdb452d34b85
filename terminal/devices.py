"""Every port of a terminal in one dataclass: what the state machine's actions may touch, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from canteen.access_decision import HandStatus
from canteen.clock import Clock
from canteen.hand_policy import HandPolicy
from canteen.identifiers import DeviceId, PupilId
from firmware_bridge.devices import Board
from hand_geometry.quality import Finding, QualityReason
from sync.order_box import OrderBox
from sync.pass_journal import PassJournal
from templates_store.store import PurgeOutcome, StoredReference, TemplateStore
from terminal.display.view import ScreenView

if TYPE_CHECKING:
    from hand_geometry.acquisition import Features  # loads OpenCV: behind assembly only
    from hand_geometry.mask import Mask


@dataclass(frozen=True, slots=True)
class HandCapture:
    """What one watch of the hand reader ended with: features, or why there are none.

    Attributes:
        watch: the number under which it was asked for.
        seen_at_s: when the frame was taken that it rests on (monotonic).
        finding: what is wrong, nearer than `failure`, where the picture shows it.
        place: where on the drawn hand, x and y in 0..1; None where it is nowhere in particular.
    """

    watch: int
    seen_at_s: float
    failure: QualityReason | None = None
    features: Features | None = field(default=None, repr=False)
    finding: Finding | None = None
    place: tuple[float, float] | None = None


class PlatenState(StrEnum):
    """What a glance at the platen shows."""

    EMPTY = "empty"
    SOMETHING_LIES = "something-lies"
    TOO_DARK = "too-dark"
    TOO_LIGHT = "too-light"
    NO_PICTURE = "no-picture"
    CALIBRATION_UNREADABLE = "calibration-unreadable"
    """There is a calibration, and nobody can read it: hands enrolled in mm are refused."""
    NOT_CALIBRATED = "not-calibrated"
    """There is no calibration, and hands enrolled in mm came up: they are refused."""
    SHEET_NOT_SEEN = "sheet-not-seen"
    SHEET_MOVED = "sheet-moved"
    SHEET_COVERED = "sheet-covered"
    SHEET_DIRTY = "sheet-dirty"
    MIRROR_DIRTY = "mirror-dirty"
    MIRROR_BLIND = "mirror-blind"
    """Nothing looks wrong, but one hand after the other was flat: something dark may cover the mirror."""
    BLURRED = "blurred"
    """Much less sharp than at calibration."""
    BUSY = "busy"
    """A hand is being watched: the camera is in use."""


@dataclass(frozen=True, slots=True)
class PlatenLook:
    """A glance at the platen, in numbers; never the picture.

    Attributes:
        grey: mean grey level, 0 to 255.
        sharpness: mean step between neighbouring pixels in grey levels: falls when the lens is smeared or out of focus.
        focus: sharpness of the bare sheet as a share of what it was at calibration; None where that is not known.
        size_px: "1600x1200".
        calibrated: whether the printed sheet is known, and was looked at.
        heights: whether a side mirror is known, in which hands' heights are measured.
        place: where in the picture the worst finding is, x and y in 0..1.
    """

    state: PlatenState
    grey: float | None = None
    sharpness: float | None = None
    size_px: str | None = None
    calibrated: bool = False
    heights: bool = False
    place: tuple[float, float] | None = None
    focus: float | None = None


@dataclass(frozen=True, slots=True)
class HandQuestion:
    """One hand, one reference.

    Attributes:
        at: the instant of the decision; `today` the school's day then.
        first_try: whether nothing was laid before in this attempt.
        clock_believed: whether `at` may be learnt from.
        memory: what was remembered when something was last learnt.
    """

    reference: StoredReference
    features: Features = field(repr=False)
    at: datetime
    today: date
    policy: HandPolicy
    first_try: bool
    clock_believed: bool
    memory: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LearntHand:
    """What a matched hand makes of a reference: to be kept in its place, with what has to be remembered beside it."""

    reference: bytes = field(repr=False)
    memory: bytes = field(repr=False)
    advises_enrollment: bool = False
    """Whether staff should take the hand anew soon; said once a reference."""


@dataclass(frozen=True, slots=True)
class HandAnswer:
    """What the comparison came to.

    Attributes:
        status: MATCHED or NOT_MATCHED; NO_REFERENCE where none is compared that day, or it cannot be read.
        wrong_hand: whether the other hand lay there.
        learnt: what the reference has become; None: as it is.
    """

    status: HandStatus
    wrong_hand: bool = False
    learnt: LearntHand | None = None


class TerminalStore(TemplateStore, Protocol):
    """The template store, as a terminal needs it."""

    def last_erasure(self, pupil: PupilId) -> PurgeOutcome | None:
        """What the latest erasure of a reference of this pupil said; None if there never was one."""
        ...


class HandReader(Protocol):
    """Looks for one hand at a time."""

    def watch(
        self,
        watch: int,
        timeout_s: float,
        on_capture: Callable[[HandCapture], None],
        *,
        laid_anew: bool,
        mask: Mask | None = None,
    ) -> None:
        """Begin to look; `on_capture` is called once, on another thread, unless `stop` comes first. Never waits.

        Args:
            watch: comes back in the capture.
            timeout_s: how long to look for a hand.
            on_capture: what to call.
            laid_anew: whether the hand that lies there failed already: it is given a moment to move first.
            mask: which fingers need not be there; None: all are looked for.
        """
        ...

    def mask_of(self, reference: StoredReference, today: date) -> Mask:
        """Which fingers are not compared with that reference on that day."""
        ...

    def stop(self) -> None:
        """Stop looking. Never waits."""
        ...

    def compare(self, question: HandQuestion) -> HandAnswer:
        """The comparison, once."""
        ...

    def is_compared(self, reference: StoredReference, today: date) -> bool:
        """Whether a hand is worth asking for that day: not while it is in plaster, nor after a splint's last day."""
        ...

    def awaits_enrollment(self, reference: StoredReference, memory: bytes | None) -> bool:
        """Whether a new enrolment has been advised, or nothing else helps."""
        ...

    def carried_over(self, held: StoredReference, memory: bytes, coming: bytes) -> LearntHand | None:
        """What `coming` becomes in the place of `held`, where it is the very same enrolment; None where it is not."""
        ...

    def warm_up(self) -> None:
        """Get ready for the first hand. Never waits."""
        ...

    def look_at_platen(self) -> PlatenLook:
        """What the camera sees now, where no hand is being watched. Waits a second at most."""
        ...

    def close(self) -> None: ...


class CardReaderDevice(Protocol):
    """A card reader beside the board; what it reads arrives by the inbox."""

    @property
    def ready(self) -> bool:
        """Whether cards are read now."""
        ...

    def start(self) -> None:
        """Begin to read and to report."""
        ...

    def stop(self) -> None:
        """Stop reading."""
        ...


class Screen(Protocol):
    """The pupil's screen."""

    def show(self, view: ScreenView) -> None:
        """Show `view` from now on. Never waits."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Devices:
    """All that a terminal is connected to."""

    device: DeviceId
    clock: Clock
    board: Board
    hand_reader: HandReader
    screen: Screen
    journal: PassJournal
    box: OrderBox
    store: TerminalStore
    card_reader: CardReaderDevice | None = None
    """None where the board reads the cards."""
    cards_by_chip_alone: bool = False
    """Whether anyone can copy a card: said wherever the terminal's state is said."""
