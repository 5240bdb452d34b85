"""From three placements of a hand to a reference, behind the consent gate. No image outlives the call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from canteen.consent import Consent, ConsentState, may_use_biometrics
from canteen.identifiers import PupilId
from enrollment_station.advice import Advice, AdviceList
from enrollment_station.dispatch import ReferenceDispatch
from enrollment_station.errors import ConsentRequired, PupilNotFound, StandInRefused
from enrollment_station.platen_desk import PlatenDesk
from enrollment_station.recording import Recorder
from enrollment_station.stand_ins import (
    NO_HAND_TO_REST,
    NOT_READABLE_NOW,
    NOTHING_ENDS,
    USUAL_TERMS,
    EnrollmentTerms,
)
from enrollment_station.work_list import WorkList
from hand_geometry.acquisition import Features, Platen, acquire, decode_image
from hand_geometry.errors import ReferenceFormatError
from hand_geometry.findings import find_findings
from hand_geometry.hand_frame import drawn_at
from hand_geometry.held_hand import HeldHand, decode_held
from hand_geometry.mask import NO_MASK, Mask
from hand_geometry.quality import SAID_ALONE, Finding, QualityReason
from hand_geometry.reference import SAMPLES_TO_ENROLL, FailureToEnroll, Reference, make_reference
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import ConsentMissing, StoreUnavailable, UnknownPupil
from templates_store.store import ReferenceAbsence, StoredReference

SAME_IMAGE = "same_image"
"""The same picture twice says nothing of how the hand varies; not a matter of the hand's quality."""


OTHER_READER = "other_reader"
"""The picture does not show the sheet where the calibrated camera saw it."""


@dataclass(frozen=True, slots=True)
class NotAcquired:
    """Nothing was measured of a placement.

    Attributes:
        reason: a `QualityReason`'s value, or `OTHER_READER`.
        finding: what is wrong, nearer than that, where the picture shows it.
        place: where on the drawn hand, x and y in 0..1.
    """

    reason: str
    finding: Finding | None = None
    place: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The reference is kept, and on its way to the terminals."""

    revision: int


@dataclass(frozen=True, slots=True)
class NotEnrolled:
    """Nothing is kept.

    Attributes:
        reason: a `QualityReason`'s value, or `SAME_IMAGE`.
        placement: the placement to be done again, from 1, where one can be named.
    """

    reason: str
    placement: int | None


@dataclass(frozen=True, slots=True)
class EnrollmentDesk:
    """Every way to a hand goes through `require_consent`."""

    store: EncryptedStore
    recorder: Recorder
    work: WorkList
    dispatch: ReferenceDispatch
    advice: AdviceList
    ground: Platen
    platen: PlatenDesk
    lock: threading.RLock
    measuring: threading.Lock
    """One picture at a time: a large one takes 120 MB while it is measured, and a Pi has 1 GB."""

    def require_consent(self, pupil: PupilId) -> Consent:
        """The consent under which the pupil's hand may be captured now.

        Raises:
            PupilNotFound: nobody of that pseudonym is on the roster.
            ConsentRequired: there is none that stands.
        """
        if self.store.pupil(pupil) is None:
            raise PupilNotFound(pupil)
        state, consent = self.store.consent_of(pupil)
        if not may_use_biometrics(state) or consent is None:
            raise ConsentRequired(state)
        return consent

    def try_placement(self, pupil: PupilId, untrusted_image: bytes, mask: Mask = NO_MASK) -> NotAcquired | None:
        """Why this placement cannot be used, or None if it can. Keeps nothing. Raises as `require_consent`."""
        self.require_consent(pupil)
        measured = self._measure(untrusted_image, mask)
        return measured if isinstance(measured, NotAcquired) else None

    def enroll(
        self, pupil: PupilId, untrusted_images: Sequence[bytes], terms: EnrollmentTerms = USUAL_TERMS
    ) -> Enrolled | NotEnrolled:
        """Make a reference of three placements, keep it, and send it to every terminal.

        Raises:
            StandInRefused: the usual reference, which is to come back, cannot be read now.
            PupilNotFound, ConsentRequired: as `require_consent`; also if the consent ended while we measured.
            StoreUnavailable, JournalUnavailable: it could not be kept or recorded; what was begun is finished later.
        """
        self.require_consent(pupil)
        if len(untrusted_images) != SAMPLES_TO_ENROLL:
            return NotEnrolled(QualityReason.TOO_FEW_SAMPLES.value, None)
        for position, image in enumerate(untrusted_images, start=1):
            if image in untrusted_images[: position - 1]:
                return NotEnrolled(SAME_IMAGE, position)
        samples = []
        for position, image in enumerate(untrusted_images, start=1):
            features = self._measure(image, terms.mask)
            if isinstance(features, NotAcquired):
                return NotEnrolled(features.reason, position)
            samples.append(features)
        made = make_reference(samples, mask=terms.mask)
        if isinstance(made, FailureToEnroll):
            return NotEnrolled(made.reason.value, None if made.odd_sample is None else made.odd_sample + 1)
        if terms.until is None:
            return self._keep(pupil, lambda _usual: HeldHand(made))
        return self._keep(pupil, lambda usual: HeldHand(usual(), stand_in=made, until=terms.until))

    def rest(self, pupil: PupilId, until: date) -> Enrolled:
        """No hand is compared through that day, for a plaster: the pupil passes by card. Then the usual one is again.

        Raises:
            StandInRefused: there is no usual hand, or it cannot be read now.
            PupilNotFound, ConsentRequired, StoreUnavailable, JournalUnavailable: as `enroll`.
        """
        return self._keep(pupil, lambda usual: HeldHand(_some(usual(), NO_HAND_TO_REST), until=until))

    def resume(self, pupil: PupilId) -> Enrolled:
        """The usual hand is compared again at once. Raises as `rest`."""
        if self.standing_in(pupil) is None:
            raise StandInRefused(NOTHING_ENDS)
        return self._keep(pupil, lambda usual: HeldHand(_some(usual(), NO_HAND_TO_REST)))

    def standing_in(self, pupil: PupilId) -> HeldHand | None:
        """What is held, while something stands in for the usual hand, or nothing usual is left; None as a rule."""
        held = self._held(pupil)
        if held is None or held.until is None:
            return None
        over = held.until < self.recorder.now().date()
        return None if over and held.usual is not None else held

    def _measure(self, untrusted_image: bytes, mask: Mask) -> Features | NotAcquired:
        with self.measuring:
            image = decode_image(untrusted_image)
            if image is None:
                return NotAcquired(QualityReason.UNREADABLE_IMAGE.value)
            if self.platen.is_elsewhere(image):
                return NotAcquired(OTHER_READER)
            measured = acquire(image, self.ground, calibration=self.platen.calibration, mask=mask)
            if isinstance(measured, Features):
                return measured
            found = measured.places
            if measured.reason not in SAID_ALONE:
                found = find_findings(image, self.ground, calibration=self.platen.calibration, mask=mask)
            worst = next(iter(found), None)
            place = None if worst is None or worst.on_hand is None else drawn_at(worst.on_hand)
            return NotAcquired(measured.reason.value, None if worst is None else worst.finding, place)

    def _held(self, pupil: PupilId) -> HeldHand | None:
        stored = self.store.reference(pupil, self.recorder.now())
        if stored is ReferenceAbsence.LEASE_EXPIRED:
            raise StandInRefused(NOT_READABLE_NOW)
        try:
            return decode_held(stored.reference) if isinstance(stored, StoredReference) else None
        except ReferenceFormatError:
            return None  # of another version: it cannot come back

    def _usual(self, pupil: PupilId) -> Reference | None:
        held = self._held(pupil)
        return None if held is None else held.usual

    def _keep(self, pupil: PupilId, made_with: Callable[[Callable[[], Reference | None]], HeldHand]) -> Enrolled:
        """Keep what becomes of the usual reference, and send it."""
        with self.lock:
            consent = self.require_consent(pupil)
            held = made_with(lambda: self._usual(pupil))
            reference = held.encoded()
            revision = self._next_revision(pupil)
            self.work.begin_enrolled(pupil)
            try:
                if not self.store.put_reference(pupil, revision, consent, reference):
                    raise StoreUnavailable("a fresh revision was refused")
            except UnknownPupil as error:
                raise PupilNotFound(pupil) from error
            except ConsentMissing as error:
                raise ConsentRequired(ConsentState.NONE) from error
            self.dispatch.send_enrolled(StoredReference(pupil, revision, consent, reference))
            self.work.end_enrolled(pupil)
            if held.usual is None and held.until is not None:
                self.advice.put(pupil, Advice(revision, held.until + timedelta(days=1)))
            else:
                self.advice.tidy()
        return Enrolled(revision)

    def _next_revision(self, pupil: PupilId) -> int:
        """Later than any there ever was here, and, being the time, than those of a station that this one replaces."""
        return max(int(self.recorder.now().timestamp()), self.store.revision_floor(pupil) + 1)


def _some(usual: Reference | None, refusal: str) -> Reference:
    if usual is None:
        raise StandInRefused(refusal)
    return usual
