"""Consent, opposition and withdrawal, as taken down from a family's form."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from canteen.consent import Consent, ConsentState, GivenBy, may_use_biometrics
from canteen.identifiers import PupilId
from enrollment_station.errors import ConsentRefused, PupilNotFound
from enrollment_station.language import marked
from enrollment_station.recording import Recorder
from enrollment_station.work_list import WorkList
from sync.facts import ConsentRecorded
from templates_store.encrypted_store import EncryptedStore
from templates_store.errors import UnknownPupil
from templates_store.store import Erasure

NOTICE_DOCUMENT = "notice"
_NOTICE_LONGEST = 40
_SIGNED_AT = time(12)
"""A form bears a day, the protocol an instant: noon of that day, unless it is today."""

NOT_AN_ANSWER = marked("Indiquez consentement, opposition ou retrait.")
NO_NOTICE = marked("Indiquez la version de la notice d’information remise à la famille.")
IN_THE_FUTURE = marked("La date du formulaire est dans le futur.")
NOT_THE_LATEST = marked("Une réponse plus récente est déjà enregistrée pour cet élève : elle seule compte.")


@dataclass(frozen=True, slots=True)
class ConsentForm:
    """What the operator read on the form."""

    state: ConsentState
    notice_version: str
    given_by: GivenBy
    signed_on: date | None = None


@dataclass(frozen=True, slots=True)
class ConsentDesk:
    """Takes forms in. The end of a consent erases the hand here at once; the server has it erased everywhere else."""

    store: EncryptedStore
    recorder: Recorder
    work: WorkList
    lock: threading.RLock

    def take(self, pupil: PupilId, form: ConsentForm, operator: str) -> ConsentRecorded:
        """Record the form.

        Raises:
            PupilNotFound: nobody of that pseudonym is on the roster.
            ConsentRefused: the form is incomplete, dated ahead, or older than what is on record.
        """
        if form.state is ConsentState.NONE:
            raise ConsentRefused(NOT_AN_ANSWER)
        notice = form.notice_version.strip()
        if not notice or len(notice) > _NOTICE_LONGEST or not notice.isprintable():
            raise ConsentRefused(NO_NOTICE)
        if self.store.pupil(pupil) is None:
            raise PupilNotFound(pupil)
        with self.lock:
            given_at = self._instant(pupil, form)
            fact = ConsentRecorded(pupil, form.state, notice, form.given_by, given_at, operator)
            self.work.begin_consent(fact)
            self._carry_out(fact)
            self.work.end_consent(pupil)
        self.store.put_document(NOTICE_DOCUMENT, {"version": notice})
        return fact

    def finish(self) -> None:
        """Carries out what a kill left half done."""
        for fact in self.work.read().consents.values():
            with self.lock:
                self._carry_out(fact)
                self.work.end_consent(fact.pupil)

    def latest_notice(self) -> str:
        """The notice version of the latest form, to propose for the next; "" before the first."""
        document = self.store.document(NOTICE_DOCUMENT) or {}
        return str(document.get("version", ""))

    def _carry_out(self, fact: ConsentRecorded) -> None:
        consent = Consent(fact.notice_version, fact.given_by, fact.given_at)
        try:
            self.store.put_consent(fact.pupil, fact.state, consent)
        except UnknownPupil:
            return  # has left meanwhile, and everything of theirs with them
        if not may_use_biometrics(fact.state):
            self.store.purge(fact.pupil, Erasure.REFERENCE)
        self.recorder.record(fact)

    def _instant(self, pupil: PupilId, form: ConsentForm) -> datetime:
        now = self.recorder.now()
        _, earlier = self.store.consent_of(pupil)
        today = self.today()
        if form.signed_on is not None and form.signed_on > today:
            raise ConsentRefused(IN_THE_FUTURE)
        if form.signed_on in {None, today} or not may_use_biometrics(form.state):
            # A refusal counts from the moment it is handed in, and must be later than whatever it ends.
            return now if earlier is None else max(now, earlier.given_at + timedelta(milliseconds=1))
        given_at = datetime.combine(form.signed_on, _SIGNED_AT, self.timezone()).astimezone(UTC)
        if earlier is not None and given_at <= earlier.given_at:
            raise ConsentRefused(NOT_THE_LATEST)
        return given_at

    def today(self) -> date:
        """The school's day."""
        return self.recorder.now().astimezone(self.timezone()).date()

    def timezone(self) -> ZoneInfo:
        """The school's, by its calendar."""
        calendar = (self.store.document("calendar") or {}).get("calendar")
        name = calendar.get("timezone") if isinstance(calendar, dict) else None
        try:
            return ZoneInfo(str(name or "Europe/Paris"))
        except (ZoneInfoNotFoundError, ValueError):
            return ZoneInfo("Europe/Paris")
