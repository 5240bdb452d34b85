"""The staff's access: a JSON file of names and token digests, mode 0600, read again whenever it changes."""

from __future__ import annotations

from pathlib import Path

from billing_server.errors import ConfigurationRefused
from billing_server.private_list import PrivateList
from canteen.operator_access import Operator, find_operator, new_token, token_digest

_NAME_LONGEST = 80


class OperatorBook:
    """Who may open a page."""

    def __init__(self, path: Path) -> None:
        self._list = PrivateList(path, lambda item: Operator(str(item["name"]), str(item["token_digest"])))

    def find(self, untrusted_token: str) -> Operator | None:
        """The operator of a token, or None."""
        return find_operator(self._list.current(), untrusted_token)

    def add(self, name: str) -> str:
        """Let `name` in, with a fresh token in place of an earlier one; the token, said this once.

        Raises:
            ConfigurationRefused: the name is empty or too long, or the file is damaged or open to others.
        """
        name = checked_name(name)
        token = new_token()
        others = [operator for operator in self._list.current() if operator.name != name]
        everyone = [*others, Operator(name, token_digest(token))]
        self._list.write([{"name": o.name, "token_digest": o.token_digest} for o in everyone])
        return token


def checked_name(name: str) -> str:
    """`name` without blanks around it. Raises ConfigurationRefused if it is empty or too long."""
    name = name.strip()
    if not name or len(name) > _NAME_LONGEST:
        raise ConfigurationRefused("a name has 1 to 80 characters")
    return name
