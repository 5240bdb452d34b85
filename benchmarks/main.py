"""`canteen-bench NAME`: a table for people, and as the last line of the output one list of figures in JSON."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.bench_terminal import PASSES_MOST
from benchmarks.figures import Report, print_report
from benchmarks.hand_benchmark import HandSettings, run_hand_benchmark
from benchmarks.language import _
from benchmarks.pass_benchmark import DAY_PASSES, PassSettings, run_pass_benchmark
from benchmarks.store_benchmark import StoreSettings, run_store_benchmark
from benchmarks.sync_benchmark import SyncSettings, run_sync_benchmark
from canteen.command_line import console_script
from canteen.errors import CanteenError

_TABLE_WIDTH = 118
"""Where the output is no terminal."""
_IDLE_MOST_S = 60.0
_DEFAULT = PassSettings()


@console_script
def main(argv: Sequence[str] | None = None) -> int:
    """0: measured, whatever the figures; 1: something that was to be measured did not happen; 2: not understood."""
    parser = argparse.ArgumentParser(
        prog="canteen-bench", description=_("Des mesures rapportées à un plancher mesuré dans la même exécution.")
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    commands.add_parser("list", help=_("les mesures qui existent"))
    one_pass = commands.add_parser("pass", help=_benchmarks()["pass"])
    one_pass.add_argument(
        "--passes", type=_passes, default=_DEFAULT.passes, help=_("passages par la main, et autant par la carte")
    )
    one_pass.add_argument("--starts", type=_starts, default=_DEFAULT.starts, help=_("démarrages à froid"))
    one_pass.add_argument(
        "--idle-seconds", type=_seconds, default=_DEFAULT.idle_s, help=_("durée de la mesure au repos")
    )
    one_pass.add_argument(
        "--day", action="store_true", help=_("autant de passages qu'un midi : 300 et 300, sans limite de temps")
    )
    store = commands.add_parser("store", help=_benchmarks()["store"])
    store.add_argument("--pupils", type=_pupils, default=StoreSettings().largest, help=_("élèves de la grande école"))
    hand = commands.add_parser("hand", help=_benchmarks()["hand"])
    hand.add_argument("--pictures", type=Path, help=_("dossier d'images 1600×1200 à la place de mains synthétiques"))
    hand.add_argument("--mediapipe", metavar="PYTHON", help=_("un interpréteur Python qui a MediaPipe 0.10.14"))
    sync = commands.add_parser("sync", help=_benchmarks()["sync"])
    sync.add_argument("--passes", type=_passes_sent, default=SyncSettings().passes, help=_("passages de l'arriéré"))
    sync.add_argument("--largest", type=_ledger, default=1_000_000, help=_("passages du grand registre"))
    arguments = parser.parse_args(argv)
    if arguments.name == "list":
        for name, what in _benchmarks().items():
            sys.stdout.write(f"{name:<8}{what}\n")
        return 0
    errors = Console(stderr=True, highlight=False)
    try:
        with _ended_by_sigterm(), _progress(errors) as progress:
            report = _run(arguments, _Bars(progress))
    except (CanteenError, OSError) as error:
        errors.print(f"canteen-bench : {error}", style="bold red", markup=False)
        return 1
    output = Console(highlight=False, width=None if sys.stdout.isatty() else _TABLE_WIDTH)
    print_report(report, output)
    return 0


def _run(arguments: argparse.Namespace, bars: _Bars) -> Report:
    if arguments.name == "sync":
        return run_sync_benchmark(SyncSettings(passes=arguments.passes, largest=arguments.largest), bars)
    if arguments.name == "hand":
        return run_hand_benchmark(HandSettings(folder=arguments.pictures, mediapipe=arguments.mediapipe), bars)
    if arguments.name == "store":
        return run_store_benchmark(StoreSettings(largest=arguments.pupils), bars)
    passes = DAY_PASSES if arguments.day else arguments.passes
    settings = PassSettings(passes, arguments.starts, arguments.idle_seconds, day=arguments.day)
    return run_pass_benchmark(settings, bars)


def _benchmarks() -> dict[str, str]:
    """Every benchmark and what it measures."""
    return {
        "pass": _("du dernier chiffre ou de la carte à l'ouverture confirmée (90 s au plus)"),
        "store": _("le coffre des références : recherche, ouverture, effacement (60 s au plus)"),
        "hand": _("de l'image à la décision, face au plancher et à MediaPipe (60 s au plus)"),
        "sync": _("du journal au registre durable, et sa lecture (3 min au plus)"),
    }


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does: the programs that were started are stopped, the folder goes."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _passes(text: str) -> int:
    return _between(int(text), 1, PASSES_MOST)


def _starts(text: str) -> int:
    return _between(int(text), 1, 20)


def _pupils(text: str) -> int:
    return _between(int(text), 1_000, 100_000)


def _passes_sent(text: str) -> int:
    return _between(int(text), 400, 100_000)


def _ledger(text: str) -> int:
    return _between(int(text), 20_000, 10_000_000)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.5 <= value <= _IDLE_MOST_S:
        raise argparse.ArgumentTypeError(_("entre {least} et {most}").format(least=0.5, most=_IDLE_MOST_S))
    return value


def _between(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(_("entre {least} et {most}").format(least=least, most=most))
    return value


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


class _Bars:
    """One bar for each kind of work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
