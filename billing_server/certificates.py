"""The daily certificate: made on demand, signed, kept; shown as JSON, and as a PDF that carries the JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy.orm import Session

from billing_server.models import DayCertificate
from billing_server.paper import Paper, paper_octets
from billing_server.reconciliation import day_statement, reconcile
from billing_server.school import School
from billing_server.signed_statement import StatementPurpose, sign_statement
from billing_server.text import N_, Text
from canteen.clock import Clock
from sync.encoding import canonical, octets_text
from sync.signing import SigningKey

_HEADING = (
    N_("Borne"),
    N_("Vus"),
    N_("Reçus"),
    N_("Facturés"),
    N_("Renoncés"),
    N_("Non facturés"),
    N_("À régler"),
    N_("Horloge douteuse"),
)


@dataclass(frozen=True, slots=True)
class CertificateDesk:
    """Makes and shows daily certificates."""

    signing_key: SigningKey = field(repr=False)
    school: School
    uai: str
    clock: Clock

    def certify(self, session: Session, day: date, by: str) -> DayCertificate:
        """State the day as it is now. An earlier certificate of the day stays as it was."""
        order = self.school.calendar_order(session)
        now = self.clock.utc_now()
        school = {"uai": self.uai, "name": order.school_name}
        statement = day_statement(reconcile(session, order.calendar, day), school, now)
        certificate = DayCertificate(
            day=day,
            statement=canonical(statement).decode(),
            signature=sign_statement(self.signing_key, StatementPurpose.DAY, statement),
            made_by=by,
            made_at=now,
        )
        session.add(certificate)
        session.flush()
        return certificate

    def document(self, certificate: DayCertificate) -> dict[str, Any]:
        """The signed statement, with the key to check it."""
        return {
            "purpose": StatementPurpose.DAY.value,
            "statement": json.loads(certificate.statement),
            "signature": octets_text(certificate.signature),
            "verifying_key": octets_text(self.signing_key.verifying_key.octets),
        }

    def pdf(self, certificate: DayCertificate, text: Text) -> bytes:
        """The same for a human."""
        document = self.document(certificate)
        said = document["statement"]
        if not said["holds"]:
            verdict = text("Le compte n’est pas juste : voir les lignes à vérifier")
        elif said["explained"]:
            verdict = text("Passages vus = reçus = facturés, hors passages expliqués")
        else:
            verdict = text("Passages vus = reçus = facturés")
        heading = [text(word) for word in _HEADING]
        columns = ("device", "seen", "received", "billed", "abandoned", "not_billed", "waiting", "clock_doubts")
        rows = [[str(item[column]) for column in columns] for item in said["devices"]]
        final = text("oui") if said["final"] else text("non : une borne n’a pas été entendue depuis le service")
        paper = Paper(
            title=text("Certificat du jour"),
            subtitle=f"{said['school']['name']} ({said['school']['uai']})",
            verdict=verdict,
            facts=[
                (text("Jour"), text.day(certificate.day)),
                (text("Établi le"), text.moment(certificate.made_at)),
                (text("Établi par"), certificate.made_by),
                (text("Vus par les bornes"), str(said["seen"])),
                (text("Reçus au registre"), str(said["received"])),
                (text("Facturés"), str(said["billed"])),
                (text("Expliqués (renoncés, non facturés)"), str(said["explained"])),
                (text("Définitif"), final),
            ],
            tables=[(text("Par borne"), heading, rows)] if rows else [],
            small_print=[
                text(
                    "Signature Ed25519 du serveur, sur le fichier JSON joint à ce PDF ; "
                    "« canteen-billing verify FICHIER » la vérifie hors ligne."
                ),
                document["signature"],
                document["verifying_key"],
            ],
            document=document,
            attachment=f"certificat-{certificate.day}-{certificate.id}.json",
            made_at=certificate.made_at,
            language=text.language,
        )
        return paper_octets(paper)
