"""The polkit rule for pcscd, run as polkit runs it: in a JavaScript engine, with an action and a subject.

No polkit daemon with a system bus runs here; that it reads the rule from its folder was not tested.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from playwright._impl._driver import compute_driver_executable

RULE = Path(__file__).resolve().parents[2] / "systemd" / "canteen-pcscd.rules"
_ENGINE = """
const fs = require("fs"), rules = [];
const polkit = {Result: {YES: "yes", NO: "no", NOT_HANDLED: null}, addRule: (rule) => rules.push(rule)};
new Function("polkit", fs.readFileSync(process.argv[1], "utf8"))(polkit);
const ask = ([id, user]) => rules.map((rule) => rule({id, lookup: () => undefined}, {user}))[0];
console.log(JSON.stringify(JSON.parse(process.argv[2]).map(ask)));
"""


def answers(*questions: tuple[str, str]) -> list[str | None]:
    node, _ = compute_driver_executable()
    command = [str(node), "-e", _ENGINE, str(RULE), json.dumps(questions)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return [None if answer is None else str(answer) for answer in json.loads(done.stdout)]


def test_our_two_services_may_use_readers_and_cards() -> None:
    """Both actions that pcsc-lite asks for."""
    actions = ("org.debian.pcsc-lite.access_pcsc", "org.debian.pcsc-lite.access_card")
    users = ("canteen-terminal", "canteen-station")
    assert ["yes"] * 4 == answers(*((action, user) for action in actions for user in users))


def test_nobody_and_nothing_else() -> None:
    """The process with the network, others of this machine, and other actions are left to polkit's own rules."""
    assert [None] * 4 == answers(
        ("org.debian.pcsc-lite.access_card", "canteen-sync"),
        ("org.debian.pcsc-lite.access_card", "www-data"),
        ("org.freedesktop.login1.reboot", "canteen-terminal"),
        ("org.debian.pcsc-lite.access_card", ""),
    )


def test_its_users_are_those_that_are_made() -> None:
    """A renamed service must not lose its reader."""
    made = (RULE.parent / "canteen.sysusers").read_text(encoding="utf-8")
    for user in ("canteen-terminal", "canteen-station"):
        assert f"u {user} " in made
