"""Certificates renewed over the line: a device's present TLS key asks, the server's signing key answers.

Neither the broker nor the authority's key is believed in this: what counts is that we gave out that certificate, that
it was not revoked, and that its key signed the wish. So it works for a certificate that has run out (brought by file or
by the page), and after the authority was lost and made anew.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server.authority import key_digest
from billing_server.clients import Pace
from billing_server.database import Database
from billing_server.errors import CodeRefused, NotARequest
from billing_server.models import Device, IssuedCertificate
from billing_server.provisioning import ProvisioningDesk
from billing_server.refusals import Refusals, WhyRefused
from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.encoding import canonical, parse_object
from sync.errors import MalformedMessage, TransportLost
from sync.messages import read_topic, topic_down
from sync.provisioning import CertificateMessage, RenewalWish, read_renewal_wish, renewal_statement
from sync.signing import SigningKey
from sync.tls_files import RENEWAL
from sync.transport import Publish


@dataclass(frozen=True, slots=True)
class RenewalDesk:
    """Takes wishes; every one may be anything."""

    database: Database
    provisioning: ProvisioningDesk | None
    refusals: Refusals
    signing_key: SigningKey = field(repr=False)
    clock: Clock
    publish: Publish
    pace: Pace
    """Every answer is a row; nobody needs many."""

    def take(self, untrusted_topic: str, untrusted_payload: bytes) -> None:
        """Answer a wish with a certificate, or count why not."""
        try:
            name, _, _ = read_topic(untrusted_topic)
        except MalformedMessage:
            self.refusals.count(None, WhyRefused.GARBAGE)
            return
        if self.pace.wait_s(name):
            self.refusals.count(name, WhyRefused.TOO_BUSY)
            return
        self.answer(name, untrusted_payload)

    def answer(self, name: DeviceId, untrusted_payload: bytes) -> bool:
        """Give the device its certificate; False, and counted, if it gets none.

        For a wish that a person brought on a stick, the next file that is made for the device carries it as well.
        """
        try:
            wish = read_renewal_wish(parse_object(untrusted_payload))
            with self.database.writing() as session:
                message = self._issue(session, name, wish)
        except (MalformedMessage, NotARequest):
            self.refusals.count(name, WhyRefused.GARBAGE)
            return False
        except CodeRefused:
            self.refusals.count(name, WhyRefused.BAD_SIGNATURE)
            return False
        with contextlib.suppress(TransportLost):  # it asks again
            self.publish(topic_down(name, "certificate"), canonical(message))
        return True

    def newest(self, session: Session, name: DeviceId) -> dict[str, object] | None:
        """The certificate given out last, signed anew; None if there is none."""
        pem = session.scalar(
            select(IssuedCertificate.pem)
            .where(IssuedCertificate.device == name, IssuedCertificate.revoked_at.is_(None))
            .order_by(IssuedCertificate.issued_at.desc())
            .limit(1)
        )
        return None if pem is None or self.provisioning is None else self.message(name, pem)

    def message(self, name: DeviceId, certificate: str) -> dict[str, object]:
        """A certificate as it is sent to a device, signed."""
        if self.provisioning is None:
            raise CodeRefused("this server has no certificate authority")
        authority = self.provisioning.authority.certificate_pem()
        return CertificateMessage(name, certificate, authority, self.clock.utc_now()).write(self.signing_key)

    def _issue(self, session: Session, name: DeviceId, wish: RenewalWish) -> dict[str, object]:
        device = session.get(Device, name)
        if self.provisioning is None or device is None or device.revoked_at is not None:
            raise CodeRefused("not a device of ours")
        try:
            shown = x509.load_pem_x509_certificate(wish.certificate.encode())
            key = shown.public_key()
        except ValueError as error:
            raise MalformedMessage("not a certificate") from error
        issued = session.get(IssuedCertificate, f"{shown.serial_number:x}")
        if (
            issued is None
            or (issued.device, issued.key_digest) != (name, key_digest(shown))
            or issued.revoked_at is not None
            or not isinstance(key, ec.EllipticCurvePublicKey)
        ):
            raise CodeRefused("not a certificate that stands")
        statement = canonical(renewal_statement(name, wish.certificate_request))
        try:
            key.verify(wish.signature, RENEWAL + b"\x00" + statement, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise CodeRefused("not signed by the certificate's key") from error
        return self.message(name, self.provisioning.renew(session, name, wish.certificate_request).pem)
