"""What an officer gets of a purge: a certificate per pupil (signed, on paper too), and all receipts in one file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing_server import wording
from billing_server.ledger import stored_entry
from billing_server.models import Device, Entry, Purge, PurgeHolder
from billing_server.paper import Paper, paper_octets
from billing_server.school import School
from billing_server.signed_statement import StatementPurpose, signed_document
from billing_server.text import N_, Text
from canteen.clock import Clock
from sync.encoding import instant_text, octets_text
from sync.orders import PurgeCause, PurgeScope
from sync.signing import SigningKey

_HEADING = (
    N_("Appareil"),
    N_("Effacé le"),
    N_("Reçu le"),
    N_("Empreinte de ce qui a été effacé"),
    N_("Entrée du journal"),
)


@dataclass(frozen=True, slots=True)
class EvidenceDesk:
    """Makes the officer's papers. Pupils are pseudonyms in them: the school alone knows the names."""

    signing_key: SigningKey = field(repr=False)
    school: School
    uai: str
    clock: Clock

    def certificate(self, session: Session, purge: Purge) -> dict[str, Any]:
        """The signed statement of one purge, as it stands now."""
        return signed_document(self.signing_key, StatementPurpose.PURGE, self._statement(session, purge))

    def certificate_pdf(self, session: Session, purge: Purge, text: Text) -> bytes:
        """The same on paper."""
        now = self.clock.utc_now()
        document = self.certificate(session, purge)
        said = document["statement"]
        if purge.completed_at is not None:
            verdict = text("Effacé partout le {when}", when=text.moment(purge.completed_at))
        elif purge.lease_ended_at is not None:
            verdict = text("Hors d’usage par fin de bail le {when}", when=text.moment(purge.lease_ended_at))
        else:
            verdict = text("En cours : des reçus manquent")
        rows = [
            [
                holder.device,
                text.moment(holder.erased_at) if holder.erased_at else text("pas confirmé"),
                text.moment(holder.received_at) if holder.received_at else "",
                (holder.record_digest or text("rien n’était conservé ici")) if holder.received_at else "",
                f"{holder.receipt_generation}/{holder.receipt_sequence}" if holder.receipt_sequence else "",
            ]
            for holder in holders_of(session, purge.purge)
        ]
        paper = Paper(
            title=text("Certificat d’effacement"),
            subtitle=f"{said['school']['name']} ({said['school']['uai']})",
            verdict=verdict,
            facts=[
                (text("Pseudonyme de l’élève"), purge.pupil),
                (text("Effacement"), purge.purge),
                (text("Ce qui est effacé"), text(wording.SCOPES[PurgeScope(purge.scope)])),
                (text("Raison"), text(wording.CAUSES[PurgeCause(purge.cause)])),
                (text("Demandé le"), text.moment(purge.asked_at)),
                (text("Échéance"), text.moment(purge.deadline)),
                (text("Établi le"), text.moment(now)),
            ],
            tables=[(text("Reçus signés par les appareils"), [text(word) for word in _HEADING], rows)] if rows else [],
            small_print=[
                text(
                    "Signature Ed25519 du serveur, sur le fichier JSON joint à ce PDF ; "
                    "« canteen-billing verify FICHIER » la vérifie hors ligne."
                ),
                document["signature"],
                document["verifying_key"],
            ],
            document=document,
            attachment=f"effacement-{purge.purge}.json",
            made_at=now,
            language=text.language,
        )
        return paper_octets(paper)

    def export(self, session: Session) -> dict[str, Any]:
        """Every purge with its receipts and the devices' public keys: all that is needed to check them elsewhere."""
        purges = session.scalars(select(Purge).order_by(Purge.asked_at, Purge.purge)).all()
        devices = session.scalars(select(Device).order_by(Device.device)).all()
        statement = {
            "v": 1,
            "school": self._school(session),
            "made_at": instant_text(self.clock.utc_now()),
            "devices": [{"device": d.device, "verifying_key": octets_text(d.verifying_key)} for d in devices],
            "purges": [
                {**self._purge(purge), "holders": _holders(session, holders_of(session, purge.purge), whole=True)}
                for purge in purges
            ],
        }
        return signed_document(self.signing_key, StatementPurpose.RECEIPTS, statement)

    def _statement(self, session: Session, purge: Purge) -> dict[str, Any]:
        return {
            "v": 1,
            "school": self._school(session),
            "made_at": instant_text(self.clock.utc_now()),
            **self._purge(purge),
            "holders": _holders(session, holders_of(session, purge.purge), whole=False),
        }

    def _school(self, session: Session) -> dict[str, str]:
        return {"uai": self.uai, "name": self.school.calendar_order(session).school_name}

    @staticmethod
    def _purge(purge: Purge) -> dict[str, Any]:
        def said(name: str) -> str | None:
            value = getattr(purge, name)
            return None if value is None else instant_text(value)

        return {
            "purge": purge.purge,
            "pupil": purge.pupil,
            "scope": purge.scope,
            "cause": purge.cause,
            "asked_by": purge.asked_by,
            **{name: said(name) for name in ("asked_at", "deadline", "completed_at", "lease_ended_at")},
        }


def holders_of(session: Session, purge: str) -> list[PurgeHolder]:
    """A purge's holders, by name."""
    return list(session.scalars(select(PurgeHolder).where(PurgeHolder.purge == purge).order_by(PurgeHolder.device)))


def _holders(session: Session, holders: Iterable[PurgeHolder], *, whole: bool) -> list[dict[str, Any]]:
    said = []
    for holder in holders:
        entry = None
        if holder.receipt_generation is not None and holder.receipt_sequence is not None:
            entry = session.get_one(Entry, (holder.device, holder.receipt_generation, holder.receipt_sequence))
        item: dict[str, Any] = {
            "device": holder.device,
            "held_reference": holder.held_reference,
            "confirmed": entry is not None,
            "receipt_digest": None if entry is None else entry.digest,
        }
        if whole and entry is not None:
            signed = stored_entry(entry)
            item["receipt"] = {
                "header": signed.header,
                "body": signed.body,
                "signature": octets_text(signed.signature),
            }
        said.append(item)
    return said
