"""`canteen-terminal staff NAME`: gives a member of staff their link; the configuration keeps its digest alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

from canteen.operator_access import new_token, token_digest
from terminal.configuration import STAFF_NAME_LONGEST, Configuration
from terminal.errors import ConfigurationRefused


def add_person(path: Path, configuration: Configuration, name: str) -> str:
    """Write `name` with a fresh token's digest at the end of the configuration; the link, shown this once.

    Raises:
        ConfigurationRefused: the file is open to others, or the name is no name or there already.
    """
    if not name.strip() or len(name) > STAFF_NAME_LONGEST or not name.isprintable():
        raise ConfigurationRefused(f"a name has 1 to {STAFF_NAME_LONGEST} printable characters")
    if any(person.name == name for person in configuration.staff.people):
        raise ConfigurationRefused(f"{path}: {name} has a link; take their [[staff.person]] out first to renew it")
    if path.stat().st_mode & 0o077:
        raise ConfigurationRefused(f"{path}: is open to others: chmod 600 it")
    token = new_token()
    # A table of a list is well placed at the end of any TOML file. JSON's quotes are TOML's.
    lines = f"\n[[staff.person]]\nname = {json.dumps(name)}\ntoken_digest = {json.dumps(token_digest(token))}\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    return f"http://{configuration.display_host}:{configuration.display_port}/personnel/entrer?jeton={token}"
