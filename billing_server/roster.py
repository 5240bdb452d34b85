"""The roster: who the pupils are, with which code and which meals. Names and codes are sealed at rest."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing_server.errors import CodesExhausted, CodeTaken, UnknownPupil
from billing_server.models import PupilRow
from billing_server.orders import OrderDesk, locked_devices
from billing_server.vault import Vault
from canteen.clock import Clock
from canteen.consent import ConsentState
from canteen.credentials import PersonalCode
from canteen.entitlements import Entitlement
from canteen.identifiers import PupilId, new_pupil_id
from canteen.personal_code import check_digit
from sync.order_bodies import read_entitlement, write_entitlement
from sync.orders import DeviceRole, Roster, RosterPupil

_CODES_PER_PUPIL = 2
"""At least two valid codes for each one given, or no more are given: ten are what a school should begin with."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What is sealed of a pupil."""

    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    class_name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewPupil:
    """A pupil to add; without a `code` one is drawn."""

    identity: Identity
    entitlements: tuple[Entitlement, ...]
    code: PersonalCode | None = None


@dataclass(frozen=True, slots=True)
class PupilRegistry:
    """Adds pupils and reads them back."""

    vault: Vault
    orders: OrderDesk
    clock: Clock
    code_length: int

    def add(self, session: Session, new_pupils: Sequence[NewPupil]) -> list[tuple[PupilId, PersonalCode]]:
        """Add pupils and tell every device; their identifiers and codes.

        Raises:
            CodeTaken: a fixed code is, or lately was, somebody's, or is not as long as the school's; nothing may be
                kept then (roll back).
            CodesExhausted: the school's codes are too short for so many pupils.
        """
        locked_devices(session)  # one at a time: two who draw at once could draw the same code
        taken = set(session.scalars(select(PupilRow.code_lookup).where(PupilRow.code_lookup.is_not(None))))
        if (len(taken) + len(new_pupils)) * _CODES_PER_PUPIL > 10 ** (self.code_length - 1):
            raise CodesExhausted(f"codes of {self.code_length} digits are too short for so many pupils")
        for_devices, added = [], []
        fixed = [pupil.code for pupil in new_pupils if pupil.code is not None]
        for code in fixed:
            if len(code.digits) != self.code_length:
                raise CodeTaken(f"the school's codes have {self.code_length} digits")
            if self._lookup(code) in taken:
                raise CodeTaken("a code is taken")
            taken.add(self._lookup(code))
        for new in new_pupils:
            code = new.code or self._draw(taken)
            pupil = new_pupil_id()
            session.add(
                PupilRow(
                    pupil=pupil,
                    identity_sealed=self._seal_identity(pupil, new.identity),
                    code_sealed=self.vault.seal(code.digits, f"code:{pupil}"),
                    code_lookup=self._lookup(code),
                    entitlements=json.dumps([write_entitlement(e) for e in new.entitlements]),
                    consent_state=ConsentState.NONE.value,
                    added_at=self.clock.utc_now(),
                )
            )
            for_devices.append(self._for_devices(pupil, new.identity, code, new.entitlements))
            added.append((pupil, code))
        if for_devices:
            self.orders.issue_to_all(session, lambda role: Roster(_as_told_to(role, for_devices), whole=False))
        return added

    def whole_roster(self, session: Session, role: DeviceRole) -> Roster:
        """All pupils who have not left, as a device of `role` is told."""
        rows = session.scalars(select(PupilRow).where(PupilRow.departed_at.is_(None)).order_by(PupilRow.pupil))
        told = []
        for row in rows:
            code = self.code(row)
            if code is not None:
                entitlements = tuple(read_entitlement(item) for item in json.loads(row.entitlements))
                told.append(self._for_devices(PupilId(row.pupil), self.identity(row), code, entitlements))
        return Roster(_as_told_to(role, told), whole=True)

    def identity(self, row: PupilRow) -> Identity:
        return Identity(**json.loads(self.vault.open(row.identity_sealed, f"identity:{row.pupil}")))

    def identities(self, session: Session, pupils: Iterable[str | None]) -> dict[str, Identity]:
        """The identities of those of `pupils` that are ours."""
        wanted = {pupil for pupil in pupils if pupil is not None}
        rows = session.scalars(select(PupilRow).where(PupilRow.pupil.in_(wanted))) if wanted else ()
        return {row.pupil: self.identity(row) for row in rows}

    def code(self, row: PupilRow) -> PersonalCode | None:
        """The pupil's code, or None once it has been forgotten."""
        if row.code_sealed is None:
            return None
        return PersonalCode(self.vault.open(row.code_sealed, f"code:{row.pupil}"))

    def _draw(self, taken: set[str | None]) -> PersonalCode:
        digits = self.code_length - 1
        while True:
            prefix = str(secrets.randbelow(10**digits)).zfill(digits)
            code = PersonalCode(prefix + check_digit(prefix))
            lookup = self._lookup(code)
            if lookup not in taken:
                taken.add(lookup)
                return code

    def _lookup(self, code: PersonalCode) -> str:
        return self.vault.lookup("code", code.digits)

    def _seal_identity(self, pupil: PupilId, identity: Identity) -> bytes:
        content = {
            "first_name": identity.first_name,
            "last_name": identity.last_name,
            "class_name": identity.class_name,
        }
        return self.vault.seal(json.dumps(content, ensure_ascii=False), f"identity:{pupil}")

    @staticmethod
    def _for_devices(
        pupil: PupilId, identity: Identity, code: PersonalCode, entitlements: tuple[Entitlement, ...]
    ) -> RosterPupil:
        return RosterPupil(pupil, identity.first_name, identity.last_name, identity.class_name, code, entitlements)


def known_pupil(session: Session, pupil: str) -> PupilRow:
    """The pupil's row, locked. Raises UnknownPupil."""
    row = session.get(PupilRow, pupil, with_for_update=True)
    if row is None:
        raise UnknownPupil("no such pupil")
    return row


def pupil_count(session: Session) -> int:
    """How many pupils have not left."""
    query = select(func.count()).select_from(PupilRow).where(PupilRow.departed_at.is_(None))
    return session.scalar(query) or 0


def _as_told_to(role: DeviceRole, pupils: Iterable[RosterPupil]) -> tuple[RosterPupil, ...]:
    if role is DeviceRole.STATION:
        return tuple(pupils)
    # A terminal greets by first name and needs no more: least data.
    return tuple(RosterPupil(p.pupil, p.first_name, "", p.class_name, p.code, p.entitlements) for p in pupils)
