"""Cards: typed, or made at the reader. The answer comes when the card is done; meanwhile `etape` says where it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from canteen.identifiers import parse_pupil_id
from enrollment_station import card_sentences
from enrollment_station.audit_log import AuditedAction
from enrollment_station.encoding import (
    CardGiven,
    CardHeldBack,
    CardNotRead,
    CardOutcome,
    CardSeen,
    EncodingDesk,
    UidDesk,
    Whose,
)
from enrollment_station.errors import CardRefused
from enrollment_station.language import say
from enrollment_station.rendering import language_of, note_in_audit, operator_name, station_of
from enrollment_station.station_reader import NoCard, ReaderBusy, ReaderLost, WaitCancelled
from enrollment_station.uploads import read_json_object
from firmware_bridge.card_encoding import CardBlank, EncodingStopped

router = APIRouter(prefix="/api/eleves/{untrusted_pupil}/carte")


@router.post("")
async def type_in(request: Request, untrusted_pupil: str) -> dict[str, bool]:
    """Gives the card whose number was typed."""
    pupil = parse_pupil_id(untrusted_pupil)
    number = (await read_json_object(request)).get("card")

    def give() -> dict[str, bool]:
        station = station_of(request)
        if station.encoding is not None:
            raise CardRefused(card_sentences.ONLY_ENCODED_HERE)
        note_in_audit(request, AuditedAction.CARD_ISSUED, pupil)
        station.cards.issue(pupil, number if isinstance(number, str) else "")
        return {"issued": True}

    return await run_in_threadpool(give)


@router.post("/encoder")
async def encode(request: Request, untrusted_pupil: str) -> JSONResponse:
    """Makes the next card on the reader the pupil's; `{"reuse": true}` also takes one that was another's."""
    pupil = parse_pupil_id(untrusted_pupil)
    reuse = (await read_json_object(request)).get("reuse") is True
    desk = _encoding(request)
    return await _answer(
        request, card_sentences.ENCODING_STEPS, lambda: desk.encode(pupil, operator_name(request), reuse=reuse)
    )


@router.post("/lire")
async def take_uid(request: Request, untrusted_pupil: str) -> JSONResponse:
    """Gives the pupil the next card on the reader by its chip's number, where the configuration asks for that."""
    pupil = parse_pupil_id(untrusted_pupil)
    desk = station_of(request).uid_cards
    if desk is None:
        raise CardRefused(card_sentences.NOT_ENCODED_HERE)
    return await _answer(request, card_sentences.TAKING_STEPS, lambda: desk.take(pupil, operator_name(request)))


@router.post("/verifier")
async def check(request: Request, untrusted_pupil: str) -> JSONResponse:
    """Reads the next card as a terminal does, and says whose it is."""
    pupil = parse_pupil_id(untrusted_pupil)
    desk = _desk(request)
    return await _answer(request, card_sentences.CHECKING_STEPS, lambda: desk.check(pupil, operator_name(request)))


@router.post("/effacer")
async def wipe(request: Request, untrusted_pupil: str) -> JSONResponse:
    """Takes everything of the school's off the next card."""
    pupil = parse_pupil_id(untrusted_pupil)
    desk = _encoding(request)
    return await _answer(
        request, card_sentences.WIPING_STEPS, lambda: desk.wipe(pupil, operator_name(request)), wiping=True
    )


@router.get("/etape")
async def progress(request: Request, untrusted_pupil: str) -> dict[str, Any]:
    """Where the work at the reader is, for the page; says nothing of other pupils."""
    reader, pupil = _desk(request).reader, parse_pupil_id(untrusted_pupil)
    found = reader.progress(pupil)
    return {"running": found is not None, "step": None if found is None else found.stage}


@router.post("/annuler")
async def cancel(request: Request, untrusted_pupil: str) -> dict[str, bool]:
    """Waits no longer for a card; one that is being written is finished."""
    _desk(request).reader.cancel(operator_name(request), parse_pupil_id(untrusted_pupil))
    return {"cancelled": True}


def _encoding(request: Request) -> EncodingDesk:
    desk = station_of(request).encoding
    if desk is None:
        raise CardRefused(card_sentences.NOT_ENCODED_HERE)
    return desk


def _desk(request: Request) -> EncodingDesk | UidDesk:
    return station_of(request).uid_cards or _encoding(request)


async def _answer(
    request: Request, steps: Sequence[str], work: Callable[[], CardOutcome], *, wiping: bool = False
) -> JSONResponse:
    """What came of it: 200 when it is done, 409 when the operator has something to do, 503 when the reader has."""
    outcome = await run_in_threadpool(work)
    status, content, sentence = _told(request, outcome, wiping=wiping)
    step = _stopped_at(outcome, steps)
    done = list(steps) if status == 200 else list(steps)[: steps.index(step)] if step is not None else []
    return JSONResponse({**content, "step": step, "done": done, "message": sentence}, status)


def _stopped_at(outcome: CardOutcome, steps: Sequence[str]) -> str | None:
    """The step it came to, where it came to one and not to its end."""
    match outcome:
        case EncodingStopped(step, _):
            return step.value if step in steps else None
        case NoCard():
            return steps[0]
        case CardHeldBack() | CardNotRead():
            return steps[1]  # whatever it is for, the card is read first
        case _:
            return None


def _told(request: Request, outcome: CardOutcome, *, wiping: bool) -> tuple[int, dict[str, Any], str]:
    """Status, content and sentence."""
    language, reader = language_of(request), _desk(request).reader

    def tell(sentence: str) -> str:
        return say(language, sentence)

    match outcome:
        case CardGiven(fresh, taken_over):
            sentence = card_sentences.CARD_GIVEN if fresh else card_sentences.CARD_KEPT
            if taken_over:
                sentence = card_sentences.CARD_TAKEN_OVER
            elif station_of(request).uid_cards is not None:
                sentence = card_sentences.UID_TAKEN
            return 200, {"issued": True, "fresh": fresh}, tell(sentence)
        case CardSeen(whose):
            return 200, {"whose": whose.value, "good": whose is Whose.THIS_PUPILS}, tell(card_sentences.SEEN[whose])
        case CardBlank():
            return 200, {"wiped": True}, tell(card_sentences.CARD_WIPED)
        case CardHeldBack(whose):
            held = {"error": "card-held-back", "reason": whose.value, "may_reuse": not wiping}
            sentence = card_sentences.HELD_BACK_FROM_WIPING
            return 409, held, tell(sentence if wiping else card_sentences.HELD_BACK_FROM_ENCODING[whose])
        case CardNotRead(refusal):
            return 409, {"error": "card-not-read", "reason": refusal.value}, tell(card_sentences.REFUSALS[refusal])
        case EncodingStopped(step, stop):
            content = {"error": "card-stopped", "reason": stop.value}
            why = tell(card_sentences.STOPS[stop])
            return 409, content, tell(card_sentences.STOPPED).format(step=tell(card_sentences.STEPS[step]), why=why)
        case NoCard():
            return 409, {"error": "no-card"}, tell(card_sentences.NO_CARD).format(seconds=round(reader.card_s))
        case WaitCancelled():
            return 409, {"error": "cancelled"}, tell(card_sentences.WAIT_CANCELLED)
        case ReaderBusy(operator):
            return 409, {"error": "reader-busy"}, tell(card_sentences.BUSY).format(operator=operator)
        case ReaderLost(loss):
            return 503, {"error": "reader-lost", "reason": loss.value}, tell(card_sentences.READERS[loss])
