"""Names that are generic elsewhere are ours alone here, and what is shipped is what is meant."""

from __future__ import annotations

import importlib.util
import logging
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "canteen",
    "hand_geometry",
    "templates_store",
    "firmware_bridge",
    "sync",
    "terminal",
    "enrollment_station",
    "billing_server",
    "demo",
    "benchmarks",
)
SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text())


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_of_this_name_is_ours(package: str) -> None:
    """`sync` and `terminal` exist on the package index: an environment that has them would import the wrong one."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert PROJECT == Path(spec.origin).resolve().parents[1]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_it_is_for(package: str) -> None:
    """One paragraph in `__init__`, and errors of its own (but for the benchmarks)."""
    text = (PROJECT / package / "__init__.py").read_text()
    assert re.match(r'""".{40,}', text, re.DOTALL)
    assert package == "benchmarks" or (PROJECT / package / "errors.py").exists()


@pytest.mark.parametrize("script", sorted(SETTINGS["project"]["scripts"].items()), ids=lambda item: item[0])
def test_every_console_script_explains_itself(script: tuple[str, str]) -> None:
    """`--help` works without configuration, devices or network."""
    module, _, function = script[1].partition(":")
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys; from {module} import {function}; sys.exit({function}(['--help']))"],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
    )
    assert answer.returncode == 0, answer.stderr
    assert script[0] in answer.stdout


def test_every_module_logs_below_canteen() -> None:
    """One name to configure, one name to search."""
    names = {
        (path.relative_to(PROJECT).as_posix(), name)
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*.py")
        for name in re.findall(r"getLogger\(([^)]*)\)", path.read_text())
    }
    assert set() == {(path, name) for path, name in names if not name.startswith(('"canteen.', '"alembic"'))}
    assert logging.getLogger("canteen.sync").name == "canteen.sync"


def test_the_terminal_starts_without_scikit_learn() -> None:
    """It costs seconds and 96 MiB: training only."""
    code = (
        "import sys; import terminal.main, terminal.assembly, hand_geometry.acquisition, hand_geometry.comparison;"
        "sys.exit(any(name.split('.')[0] in ('sklearn', 'scipy', 'fastapi', 'pydantic') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PROJECT).returncode == 0
