"""The common door of all commands: the session's language, an answer nobody reads on, Ctrl-C."""

from __future__ import annotations

import functools
import gettext
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec

_LOCALE = Path(__file__).parent / "locale"
_ARGPARSE = "argparse"
"""argparse asks gettext's global domain for its own words; its catalogue here is the French one."""
_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
"""In gettext's order: the first that names a language counts."""
_NO_LANGUAGE = ("C", "POSIX")

ENDED_BY = 128
"""What a shell adds to a signal's number in an exit code."""

_P = ParamSpec("_P")


def session_language() -> str:
    """``en`` where the session asks for English, else ``fr``: a school's server says ``C`` as often as French."""
    said = (os.environ.get(name, "").partition(".")[0] for name in _VARIABLES)
    asked = next((one for one in said if one and one not in _NO_LANGUAGE), "fr")
    return "en" if asked.lower().startswith("en") else "fr"


def console_script(main: Callable[_P, int]) -> Callable[_P, int]:
    """A console script in the session's language, which ends quietly where its reader or its user has had enough.

    ``… | head`` ends it with 141 and Ctrl-C with 130, as a shell expects, without a word and with everything
    that was opened closed. A program that has its own way with SIGINT keeps it.
    """

    @functools.wraps(main)
    def run(*arguments: _P.args, **named: _P.kwargs) -> int:
        try:
            with _argparse_in(session_language()), _own_answer():
                return main(*arguments, **named)
        except KeyboardInterrupt:
            return ENDED_BY + signal.SIGINT

    return run


@contextmanager
def _argparse_in(language: str) -> Iterator[None]:
    """Argparse's own words in this language: English is what it speaks by itself."""
    before, domain = os.environ.get("LANGUAGE"), gettext.textdomain()
    gettext.bindtextdomain(_ARGPARSE, str(_LOCALE))
    gettext.textdomain(_ARGPARSE)
    os.environ["LANGUAGE"] = language
    try:
        yield
    finally:
        gettext.textdomain(domain)
        if before is None:
            del os.environ["LANGUAGE"]
        else:
            os.environ["LANGUAGE"] = before


class _Answer(io.FileIO):
    """Standard output that ends the program where nobody reads on, or nothing more fits: no handler of OSError may."""

    def write(self, octets: object) -> int:
        try:
            return super().write(octets)  # type: ignore[arg-type]  # any buffer, as FileIO takes it
        except OSError as error:
            # What is still in the buffers must not fail once more at the end.
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path of ours
                os.dup2(nowhere.fileno(), self.fileno())
            if isinstance(error, BrokenPipeError):
                raise SystemExit(ENDED_BY + signal.SIGPIPE) from None
            sys.stderr.write(f"{Path(sys.argv[0]).name}: {error.strerror}\n")
            raise SystemExit(1) from None


@contextmanager
def _own_answer() -> Iterator[None]:
    """The process's own standard output as a pipe of the above; one that somebody has put in its place is left."""
    own = sys.stdout
    if own is not sys.__stdout__ or own is None:
        yield
        return
    own.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Answer(own.fileno(), "w", closefd=False)),
        encoding=own.encoding,
        errors=own.errors,
        line_buffering=own.isatty(),
    )
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        finally:
            sys.stdout = own
