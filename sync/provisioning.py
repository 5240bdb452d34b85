"""How a new device and the server prove to each other that both know the one-time code, without ever sending it.

The code is twelve signs that a person carries from the server's page to the device. Stretched by scrypt it is the key
of two HMACs: one over what the device asks, one over what the server answers, bound to the question. Whoever listens on
the network learns public keys and a certificate; whoever changes a byte is refused by the other end; and trying codes
against a recorded exchange costs 2^59 scrypts within the code's one day.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canteen.errors import InvalidIdentifier
from canteen.identifiers import DeviceId, parse_device_id
from sync.encoding import Fields, canonical, digest, instant_text, octets_text
from sync.errors import BadSignature, MalformedMessage
from sync.sealing import SealingKey
from sync.signing import Purpose, SigningKey, VerifyingKey

CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without what looks alike when written by hand."""
CODE_LENGTH = 12

PEM_LONGEST = 8192
_SALT = b"canteen enrollment code v2"
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
"""16 MiB and 50 ms on a PC, a quarter of a second on a Pi."""
_REQUEST, _ANSWER = b"canteen provisioning request v1", b"canteen provisioning answer v1"


def code_key(untrusted_code: str) -> bytes:
    """The 32 bytes that a code stands for; case, blanks and hyphens do not count."""
    plain = "".join(character for character in untrusted_code.upper() if character.isalnum())
    return hashlib.scrypt(plain.encode(), salt=_SALT, dklen=32, **_SCRYPT)


@dataclass(frozen=True, slots=True)
class ProvisionRequest:
    """What a new device asks with: its role, its public halves, a PEM request (PKCS#10, P-256) for its certificate."""

    role: str
    verifying_key: VerifyingKey
    sealing_key: SealingKey
    certificate_request: str

    @property
    def statement(self) -> dict[str, Any]:
        return {
            "v": 1,
            "role": self.role,
            "verifying_key": octets_text(self.verifying_key.octets),
            "sealing_key": octets_text(self.sealing_key.octets),
            "certificate_request": self.certificate_request,
        }

    @property
    def digest(self) -> str:
        return digest(canonical(self.statement))

    def write(self, key: bytes) -> dict[str, Any]:
        """The request as it is sent, proven with the code's key."""
        return {**self.statement, "proof": octets_text(_mac(key, _REQUEST, self.statement))}

    def is_proven(self, key: bytes, proof: bytes) -> bool:
        return hmac.compare_digest(_mac(key, _REQUEST, self.statement), proof)


@dataclass(frozen=True, slots=True)
class ProvisionAnswer:
    """All that a new device needs.

    Attributes:
        now: the server's clock, so that a device whose clock is wrong can say so.
        broker: host and port, or None where the server has no broker.
    """

    device: DeviceId
    role: str
    certificate: str
    authority: str
    server_signing_key: VerifyingKey
    server_sealing_key: SealingKey
    broker: tuple[str, int] | None
    now: datetime

    @property
    def statement(self) -> dict[str, Any]:
        return {
            "v": 1,
            "device": self.device,
            "role": self.role,
            "certificate": self.certificate,
            "authority": self.authority,
            "server_signing_key": octets_text(self.server_signing_key.octets),
            "server_sealing_key": octets_text(self.server_sealing_key.octets),
            "broker": None if self.broker is None else {"host": self.broker[0], "port": self.broker[1]},
            "now": instant_text(self.now),
        }

    def write(self, key: bytes, request_digest: str) -> dict[str, Any]:
        """The answer as it is sent, proven with the code's key for this one request."""
        proof = _mac(key, _ANSWER, {**self.statement, "request_digest": request_digest})
        return {**self.statement, "proof": octets_text(proof)}


def read_request(untrusted: Mapping[str, Any]) -> tuple[ProvisionRequest, bytes]:
    """A request and its proof, not yet held against a code. Raises MalformedMessage."""
    fields = Fields(dict(untrusted))
    if fields.integer("v") != 1:
        raise MalformedMessage("another version of the protocol")
    request = ProvisionRequest(
        fields.text("role", 20),
        VerifyingKey(fields.octets("verifying_key", 100)),
        SealingKey(fields.octets("sealing_key", 100)),
        fields.text("certificate_request", PEM_LONGEST),
    )
    return request, fields.octets("proof", 100)


def read_answer(untrusted: Mapping[str, Any], key: bytes, request_digest: str) -> ProvisionAnswer:
    """What the server answered to our request.

    Raises:
        MalformedMessage: it is no answer.
        BadSignature: not from somebody who knows the code, or not to this request.
    """
    fields = Fields(dict(untrusted))
    broker = Fields(fields.mapping("broker")) if fields.present("broker") else None
    try:
        answer = ProvisionAnswer(
            device=parse_device_id(fields.text("device")),
            role=fields.text("role", 20),
            certificate=fields.text("certificate", PEM_LONGEST),
            authority=fields.text("authority", PEM_LONGEST),
            server_signing_key=VerifyingKey(fields.octets("server_signing_key", 100)),
            server_sealing_key=SealingKey(fields.octets("server_sealing_key", 100)),
            broker=None if broker is None else (broker.text("host"), broker.integer("port", 1, 65535)),
            now=fields.instant("now"),
        )
    except InvalidIdentifier as error:
        raise MalformedMessage("device is no name of a device") from error
    expected = _mac(key, _ANSWER, {**answer.statement, "request_digest": request_digest})
    if not hmac.compare_digest(expected, fields.octets("proof", 100)):
        raise BadSignature("the answer does not know the code")
    return answer


@dataclass(frozen=True, slots=True)
class CertificateMessage:
    """A fresh certificate for a device, and the authority it is from, signed by the server."""

    device: DeviceId
    certificate: str
    authority: str
    issued_at: datetime
    signature: bytes = field(default=b"", repr=False)

    @property
    def statement(self) -> dict[str, Any]:
        return {
            "v": 1,
            "device": self.device,
            "certificate": self.certificate,
            "authority": self.authority,
            "issued_at": instant_text(self.issued_at),
        }

    def write(self, server: SigningKey) -> dict[str, Any]:
        return {**self.statement, "signature": octets_text(server.sign(Purpose.CERTIFICATE, self.statement))}

    def verify(self, server: VerifyingKey) -> None:
        """Raises BadSignature."""
        server.verify(Purpose.CERTIFICATE, self.statement, self.signature)


def read_certificate_message(untrusted: Mapping[str, Any]) -> CertificateMessage:
    """Raises MalformedMessage."""
    fields = Fields(dict(untrusted))
    if fields.integer("v") != 1:
        raise MalformedMessage("another version of the protocol")
    try:
        return CertificateMessage(
            device=parse_device_id(fields.text("device")),
            certificate=fields.text("certificate", PEM_LONGEST),
            authority=fields.text("authority", PEM_LONGEST),
            issued_at=fields.instant("issued_at"),
            signature=fields.signature(),
        )
    except InvalidIdentifier as error:
        raise MalformedMessage("device is no name of a device") from error


@dataclass(frozen=True, slots=True)
class RenewalWish:
    """A device asks for another certificate: the request, its present certificate, and that certificate's signature."""

    certificate_request: str
    certificate: str
    signature: bytes = field(repr=False)

    def write(self) -> dict[str, Any]:
        return {
            "v": 1,
            "certificate_request": self.certificate_request,
            "certificate": self.certificate,
            "signature": octets_text(self.signature),
        }


def read_renewal_wish(untrusted: Mapping[str, Any]) -> RenewalWish:
    """Raises MalformedMessage."""
    fields = Fields(dict(untrusted))
    if fields.integer("v") != 1:
        raise MalformedMessage("another version of the protocol")
    return RenewalWish(
        fields.text("certificate_request", PEM_LONGEST),
        fields.text("certificate", PEM_LONGEST),
        fields.octets("signature", 200),
    )


def renewal_statement(device: str, untrusted_request: str) -> dict[str, object]:
    """What a device signs to have its certificate renewed; harmless if it is heard twice."""
    return {"v": 1, "device": device, "request_digest": digest(untrusted_request.encode())}


def _mac(key: bytes, purpose: bytes, statement: Mapping[str, Any]) -> bytes:
    return hmac.new(key, purpose + b"\x00" + canonical(statement), hashlib.sha256).digest()
