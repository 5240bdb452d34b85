"""A reference on its way from the station to one terminal: signed inside, sealed outside, with its consent and lease.

The lease is the one under which the station held it. A terminal that gets the reference later than that does not take
it, so that whoever holds a sealed reference back (the server, the broker, a stick) cannot revive one that was purged
meanwhile; what is late is sealed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from canteen.consent import Consent, GivenBy
from canteen.errors import CanteenError
from canteen.identifiers import DeviceId, PupilId, parse_pupil_id
from sync.encoding import Fields, canonical, instant_text, octets_text, parse_object
from sync.errors import MalformedMessage, SyncError
from sync.sealing import OpeningKey, SealingKey
from sync.signing import Purpose, SigningKey, VerifyingKey

_REFERENCE_LONGEST = 4096

SEALED_FOR = timedelta(days=7)
"""Where the station has no lease to go by: as long as one lasts."""


@dataclass(frozen=True, slots=True)
class ReferenceGrant:
    """The reference of a pupil, with the consent that allows to hold it, and until when it may be taken in."""

    pupil: PupilId
    revision: int
    made_at: datetime
    consent: Consent
    reference: bytes = field(repr=False)
    lease_until: datetime | None = None

    @property
    def dies_at(self) -> datetime:
        """From then on no terminal takes it."""
        return self.made_at + SEALED_FOR if self.lease_until is None else self.lease_until


def seal_reference(
    grant: ReferenceGrant, station: DeviceId, terminal: DeviceId, station_key: SigningKey, terminal_key: SealingKey
) -> bytes:
    """Bytes that `terminal` alone can open and that it knows to be from `station`."""
    statement = {
        **_context(station, terminal),
        "pupil": grant.pupil,
        "revision": grant.revision,
        "made_at": instant_text(grant.made_at),
        "lease_until": instant_text(grant.dies_at),
        "notice_version": grant.consent.notice_version,
        "given_by": grant.consent.given_by.value,
        "given_at": instant_text(grant.consent.given_at),
        "reference": octets_text(grant.reference),
    }
    signature = station_key.sign(Purpose.REFERENCE, statement)
    signed = canonical({"statement": statement, "signature": octets_text(signature)})
    return terminal_key.seal(signed, _context(station, terminal))


def open_reference(
    untrusted_sealed: bytes, station: DeviceId, terminal: DeviceId, station_key: VerifyingKey, opening_key: OpeningKey
) -> ReferenceGrant:
    """The grant.

    Raises:
        SealBroken: sealed for another terminal or claimed for another station.
        BadSignature: not signed by that station.
        MalformedMessage: signed, but not a reference.
    """
    fields = Fields(parse_object(opening_key.open(untrusted_sealed, _context(station, terminal))))
    statement = fields.mapping("statement")
    station_key.verify(Purpose.REFERENCE, statement, fields.signature())
    inner = Fields(statement)
    if (inner.text("station"), inner.text("terminal")) != (station, terminal):
        raise MalformedMessage("a reference made for another pair")
    try:
        return ReferenceGrant(
            pupil=parse_pupil_id(inner.text("pupil")),
            revision=inner.integer("revision", 1),
            made_at=inner.instant("made_at"),
            consent=Consent(inner.text("notice_version"), GivenBy(inner.text("given_by")), inner.instant("given_at")),
            reference=inner.octets("reference", _REFERENCE_LONGEST),
            lease_until=inner.optional_instant("lease_until"),
        )
    except SyncError:
        raise
    except (CanteenError, ValueError) as error:
        raise MalformedMessage("not a reference") from error


def _context(station: DeviceId, terminal: DeviceId) -> dict[str, Any]:
    return {"v": 1, "what": "reference", "station": station, "terminal": terminal}
