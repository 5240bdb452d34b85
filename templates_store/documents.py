"""Small JSON objects by name: the calendar, the device directory, unfinished work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from templates_store.models import DOCUMENTS


def put_document(connection: Connection, name: str, content: Mapping[str, Any]) -> None:
    """Keep `content` under `name`, within the caller's transaction."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    put = insert(DOCUMENTS).values(name=name, content=text)
    connection.execute(put.on_conflict_do_update(index_elements=[DOCUMENTS.c.name], set_={"content": text}))


def read_document(connection: Connection, name: str) -> dict[str, Any] | None:
    """What was last kept under `name`, or None."""
    text = connection.execute(select(DOCUMENTS.c.content).where(DOCUMENTS.c.name == name)).scalar_one_or_none()
    content: dict[str, Any] | None = None if text is None else json.loads(text)
    return content
