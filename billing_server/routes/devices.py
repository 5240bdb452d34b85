"""Devices: let in by a code, sent away, and given their messages in files when the network is away."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from billing_server import audit
from billing_server.assembly import Services
from billing_server.audit import Action
from billing_server.errors import CodeRefused, DeviceConflict, NotARequest, UnknownDevice
from billing_server.models import Device
from billing_server.provisioning import ProvisioningDesk
from billing_server.routes.asking import TheOperator, TheServices
from billing_server.routes.pages import render, text_for
from billing_server.signed_statement import StatementPurpose, statement_holds
from canteen.errors import CanteenError, InvalidIdentifier
from canteen.identifiers import parse_device_id
from sync.encoding import Fields, canonical, parse_object
from sync.errors import MalformedMessage
from sync.orders import DeviceRole
from sync.provisioning import ProvisionAnswer, read_request, renewal_statement

router = APIRouter()

UPLOAD_PATH = "/appareils/fichier"
REQUEST_PATH = "/appareils/demande"


_REQUEST_MOST = 20_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")  # texts as they came: they are signed


class ProvisionIn(_Strict):
    """What a new device sends; keys in base64, the request in PEM, and the proof that it knows a code."""

    v: int
    role: str = Field(max_length=20)
    verifying_key: str = Field(max_length=100)
    sealing_key: str = Field(max_length=100)
    certificate_request: str = Field(max_length=8192)
    proof: str = Field(max_length=100, repr=False)


class RenewIn(_Strict):
    """A device's wish for a fresh certificate, signed with its own key."""

    device: str = Field(max_length=32)
    certificate_request: str = Field(max_length=8192)
    signature: str = Field(max_length=100)


@router.post("/api/provision")
def provision(asked: ProvisionIn, services: TheServices) -> dict[str, Any]:
    """Let a device in that proves that it knows a one-time code; anybody may ask, slowly."""
    _desk(services)
    _slowly(services)
    return _let_in(services, asked.model_dump())


def _let_in(services: Services, untrusted: dict[str, Any]) -> dict[str, Any]:
    desk = _desk(services)
    try:
        request, proof = read_request(untrusted)
        request.sealing_key.seal(b"", {})  # a key nobody can seal for would stop every order later
        with services.database.writing() as session:
            device, role, issued, code_key = desk.let_in(session, request, proof)
            now = services.clock.utc_now()
            audit.note(session, f"device {device}", Action.REGISTERED_DEVICE, now, device)
    except CodeRefused as error:
        raise HTTPException(403, str(error)) from error
    except DeviceConflict as error:
        raise HTTPException(409, "name-taken") from error
    except (NotARequest, CanteenError) as error:
        raise HTTPException(422, str(error) or type(error).__name__) from error
    broker = services.settings.broker
    answer = ProvisionAnswer(
        device=device,
        role=role.value,
        certificate=issued.pem,
        authority=desk.authority.certificate_pem(),
        server_signing_key=services.signing_key.verifying_key,
        server_sealing_key=services.opening_key.sealing_key,
        broker=None if broker is None else broker.told or (broker.host, broker.port),
        now=now,
    )
    return answer.write(code_key, request.digest)


@router.post("/api/renew")
def renew(asked: RenewIn, services: TheServices) -> dict[str, Any]:
    """A fresh certificate for a device that signs its wish."""
    desk = _desk(services)
    _slowly(services)
    try:
        name = parse_device_id(asked.device)
        signature = Fields({"signature": asked.signature}).signature()
        with services.database.writing() as session:
            device = session.get(Device, name)
            statement = renewal_statement(name, asked.certificate_request)
            if (
                device is None
                or device.revoked_at is not None
                or not statement_holds(device.verifying_key, StatementPurpose.RENEWAL, statement, signature)
            ):
                raise HTTPException(403, "not a device of ours, or not its signature")
            issued = desk.renew(session, name, asked.certificate_request)
    except (InvalidIdentifier, MalformedMessage, NotARequest) as error:
        raise HTTPException(422, str(error) or type(error).__name__) from error
    return services.renewals.message(name, issued.pem)


@router.post("/appareils/code", response_class=HTMLResponse, include_in_schema=False)
def make_code(
    request: Request,
    services: TheServices,
    operator: TheOperator,
    device: Annotated[str, Form(max_length=32)],
    role: Annotated[DeviceRole, Form()],
) -> HTMLResponse:
    """A one-time code, shown once."""
    desk = _desk(services)
    try:
        with services.database.writing() as session:
            name = parse_device_id(device.strip())
            code = desk.make_code(session, name, role, operator.name)
            audit.note(session, operator.name, Action.MADE_DEVICE_CODE, services.clock.utc_now(), name)
            text = text_for(request, services, session)
    except InvalidIdentifier as error:
        raise HTTPException(422, "not a name for a device") from error
    except DeviceConflict as error:
        raise HTTPException(409, str(error)) from error
    return render(
        request,
        "code.html",
        text,
        {
            "here": "appareils",
            "code": code,
            "device": name,
            "role": role.value,
            "address": str(request.base_url).rstrip("/"),
        },
    )


@router.post(REQUEST_PATH, include_in_schema=False)
def answer_request(services: TheServices, fichier: Annotated[UploadFile, File()]) -> Response:
    """A new device's request that came on a stick; the answer goes back on it."""
    untrusted = fichier.file.read(_REQUEST_MOST + 1)
    try:
        answer = _let_in(services, parse_object(untrusted[:_REQUEST_MOST]))
    except MalformedMessage as error:
        raise HTTPException(422, "not a device's request") from error
    headers = {"Content-Disposition": f'attachment; filename="reponse-{answer["device"]}.json"'}
    return Response(canonical(answer), media_type="application/json", headers=headers)


@router.get("/appareils/{device}/revoquer", response_class=HTMLResponse, include_in_schema=False)
def ask_revoke(device: str, request: Request, services: TheServices) -> HTMLResponse:
    """What it means, before the button."""
    with services.database.reading() as session:
        text = text_for(request, services, session)
        row = _known(session, device)
    return render(request, "revoquer.html", text, {"here": "appareils", "device": row.device})


@router.post("/appareils/{device}/revoquer", include_in_schema=False)
def revoke(device: str, services: TheServices, operator: TheOperator) -> Response:
    """The button."""
    desk = _desk(services)
    try:
        with services.database.writing() as session:
            desk.revoke(session, device)
            audit.note(session, operator.name, Action.REVOKED_DEVICE, services.clock.utc_now(), device)
    except UnknownDevice as error:
        raise HTTPException(404, "no such device") from error
    return RedirectResponse("/appareils", 303)


@router.post(UPLOAD_PATH, include_in_schema=False)
def take_file(services: TheServices, operator: TheOperator, fichier: Annotated[UploadFile, File()]) -> Response:
    """A file that a device has written on a stick."""
    count = services.carry.take_in(fichier.file)
    with services.database.writing() as session:
        about = f"{count.taken} taken, {count.refused} refused"
        audit.note(session, operator.name, Action.CARRIED_IN, services.clock.utc_now(), about)
    return RedirectResponse(f"/appareils?pris={count.taken}&refuses={count.refused}", 303)


@router.get(UPLOAD_PATH, include_in_schema=False)
def give_file(services: TheServices, operator: TheOperator, appareil: str = "") -> Response:
    """The file to bring to a device, or to all."""
    with services.database.writing() as session:
        everyone = services.carry.devices(session)
        if appareil and appareil not in everyone:
            raise HTTPException(404, "no such device")
        audit.note(session, operator.name, Action.CARRIED_OUT, services.clock.utc_now(), appareil or "all")
    lines = services.carry.lines_for([appareil] if appareil else everyone)
    content = b"".join(line + b"\n" for line in lines)
    headers = {"Content-Disposition": f'attachment; filename="ordres-{appareil or "tous"}.jsonl"'}
    return Response(content, media_type="application/octet-stream", headers=headers)


def _desk(services: Services) -> ProvisioningDesk:
    if services.provisioning is None:
        raise HTTPException(404, "this server has no certificate authority: set [authority]")
    return services.provisioning


def _slowly(services: Services) -> None:
    wait_s = services.provisioning_pace.wait_s("anybody")
    if wait_s:
        raise HTTPException(429, "too many requests", headers={"Retry-After": str(wait_s)})


def _known(session: Session, device: str) -> Device:
    row = session.get(Device, device)
    if row is None:
        raise HTTPException(404, "no such device")
    return row
