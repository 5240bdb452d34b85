"""Every wait in the terminal's processes has a bound, but for those named here with their reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("canteen", "hand_geometry", "templates_store", "firmware_bridge", "sync", "terminal")
WAITS = {"wait", "join", "result", "acquire", "get", "communicate", "recv", "accept", "select"}
"""Called without an argument, these wait for ever."""
FOR_EVER = {
    ("terminal/camera_thread.py", "get"): "the camera's own thread, which has nothing else to do",
    ("terminal/verification.py", "result"): "called back when the future is done",
    ("terminal/display/server.py", "wait"): "inside asyncio.wait_for",
    ("firmware_bridge/peripheral_session.py", "get"): "reads a field",
}
TWINS = ("simulated_", "spoiled_channel", "recorded_", "side_door")


def waits_for_ever(tree: ast.AST) -> Iterator[str]:
    """The names of the waiting calls that say no time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
            bounds = [argument for argument in node.args if not isinstance(argument, ast.Constant | ast.Starred)]
            numbers = [one for one in node.args if isinstance(one, ast.Constant) and one.value is not None]
            bounds_named = [
                one for one in node.keywords if not (isinstance(one.value, ast.Constant) and not one.value.value)
            ]
            if not bounds and not numbers and not bounds_named:
                yield node.func.attr


def test_no_wait_is_for_ever() -> None:
    """Threads, queues, locks, futures, sockets; the twins of devices wait for their world."""
    found = {
        (str(path.relative_to(ROOT)), name)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if not path.name.startswith(TWINS)
        for name in waits_for_ever(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert set() == found - set(FOR_EVER)
    assert set() == set(FOR_EVER) - found, "named and no longer there"


def test_what_is_looked_for_is_found() -> None:
    """The search itself: a bound is a number or a name, never nothing or None."""
    endless = "a.wait(); b.join(); c.get(); d.result(timeout=None); e.wait(None)"
    assert ["wait", "join", "get", "result", "wait"] == list(waits_for_ever(ast.parse(endless)))
    bounded = "a.wait(1.0); b.join(timeout=LONG_S); ''.join(words); c.get(timeout=0.5); d.get('key')"
    assert [] == list(waits_for_ever(ast.parse(bounded)))
