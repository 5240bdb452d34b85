"""Devices come in by a one-time code and are sent away in one click.

The code is said to a person, once, and never travels (see `sync.provisioning`); what is kept is the key stretched from
it. The device makes its own keys and sends the public halves and a certificate request; what it gets back is all it
needs. A name is never given to other keys: what was signed with
the first ones must stay checkable for ever.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server.authority import Authority, Issued
from billing_server.devices import DeviceDesk
from billing_server.errors import CodeRefused, DeviceConflict, UnknownDevice
from billing_server.models import Device, EnrollmentCode, IssuedCertificate
from billing_server.orders import locked_device, locked_devices
from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.orders import DeviceEntry, DeviceRole
from sync.provisioning import CODE_ALPHABET, CODE_LENGTH, ProvisionRequest, code_key

CODE_LASTS = timedelta(days=1)
_REMEMBERED = timedelta(days=30)
"""So long a code that came too late is told from one that never was."""


@dataclass(frozen=True, slots=True)
class ProvisioningDesk:
    """Makes codes, lets devices in, renews their certificates, sends them away."""

    devices: DeviceDesk
    authority: Authority
    clock: Clock

    def make_code(self, session: Session, device: DeviceId, role: DeviceRole, by: str) -> str:
        """A fresh code for `device`. Raises DeviceConflict if a device of this name, not revoked, is here already."""
        known = session.get(Device, device)
        if known is not None and (known.revoked_at is None or known.role != role.value):
            raise DeviceConflict("a device of this name is here already")
        code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
        now = self.clock.utc_now()
        session.add(
            EnrollmentCode(
                code_digest=code_key(code).hex(),
                device=device,
                role=role.value,
                made_by=by,
                made_at=now,
                expires_at=now + CODE_LASTS,
            )
        )
        return "-".join(code[start : start + 4] for start in range(0, CODE_LENGTH, 4))

    def let_in(
        self,
        session: Session,
        untrusted: ProvisionRequest,
        proof: bytes,
    ) -> tuple[DeviceId, DeviceRole, Issued, bytes]:
        """Take the device in that knows the code, whose key comes back to answer with.

        The same device may ask again with it: an answer may be lost.

        Raises:
            CodeRefused: no such code, used by another, too old, or for a device of the other role.
            DeviceConflict: the name has other keys.
            NotARequest: no certificate can be made of the request.
        """
        locked_devices(session)
        now = self.clock.utc_now()
        recent = select(EnrollmentCode).where(EnrollmentCode.expires_at > now - _REMEMBERED).with_for_update()
        proven = (row for row in session.scalars(recent) if untrusted.is_proven(bytes.fromhex(row.code_digest), proof))
        code = next(proven, None)
        if code is None:
            raise CodeRefused("code-unknown")
        if now >= code.expires_at:
            raise CodeRefused("code-expired")
        if untrusted.role != code.role:
            raise CodeRefused("code-other-role")
        verifying_key, sealing_key = untrusted.verifying_key, untrusted.sealing_key
        name, role = DeviceId(code.device), DeviceRole(code.role)
        entry = DeviceEntry(name, role, verifying_key, sealing_key)
        known = locked_device(session, name)
        same = known is not None and (known.verifying_key, known.sealing_key) == (
            verifying_key.octets,
            sealing_key.octets,
        )
        if code.used_at is not None and (known is None or known.revoked_at is not None or not same):
            raise CodeRefused("code-used")
        if known is not None and known.revoked_at is not None and same:
            known.revoked_at = None
            self.devices.admit_again(session, known)
        else:
            self.devices.register(session, entry)
        code.used_at = code.used_at or now
        issued = self._issue(session, name, untrusted.certificate_request)
        return name, role, issued, bytes.fromhex(code.code_digest)

    def renew(self, session: Session, name: DeviceId, untrusted_request: str) -> Issued:
        """A fresh certificate for a device whose signature over the request was checked. Raises NotARequest."""
        return self._issue(session, name, untrusted_request)

    def revoke(self, session: Session, name: str) -> None:
        """No more orders, no more entries, no certificate. Raises UnknownDevice."""
        locked_devices(session)
        device = session.get(Device, name, with_for_update=True)
        if device is None:
            raise UnknownDevice("no such device")
        now = self.clock.utc_now()
        device.revoked_at = device.revoked_at or now
        for issued in session.scalars(select(IssuedCertificate).where(IssuedCertificate.device == name)):
            issued.revoked_at = issued.revoked_at or now
        session.flush()
        self.devices.tell_directory(session)
        self.write_revoked(session)

    def write_revoked(self, session: Session) -> None:
        """The list for the broker, as the database has it now."""
        rows = session.execute(
            select(IssuedCertificate.serial, IssuedCertificate.revoked_at).where(
                IssuedCertificate.revoked_at.is_not(None)
            )
        )
        self.authority.write_revoked([(serial, at) for serial, at in rows if at is not None])

    def _issue(self, session: Session, name: DeviceId, untrusted_request: str) -> Issued:
        issued = self.authority.issue(name, untrusted_request)
        session.add(
            IssuedCertificate(
                serial=issued.serial,
                device=name,
                issued_at=self.clock.utc_now(),
                expires_at=issued.expires_at,
                key_digest=issued.key_digest,
                pem=issued.pem,
            )
        )
        return issued
