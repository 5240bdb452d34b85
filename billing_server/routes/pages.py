"""pages (being written)"""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

router = APIRouter()
closed_door = PlainTextResponse("closed", 401)
