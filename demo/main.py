"""`canteen-demo`: the whole canteen on this machine, in the browser, or with `--once` as a script."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from canteen.command_line import console_script
from demo.canteen import Canteen
from demo.errors import DemoError
from demo.lane import LaneServer
from demo.layout import Layout, Ports
from demo.people import Person, people_of_folder, synthetic_people
from demo.story import Story

_DEFAULT_FOLDER = Path(".demo")
_DEFAULT_PORT = 8000

_console = Console(stderr=True, highlight=False)


@console_script
def main(argv: Sequence[str] | None = None) -> int:
    """0: all went as it should; 1: a scene of `--once` did not; 2: the demonstration could not start."""
    parser = argparse.ArgumentParser(
        prog="canteen-demo", description="Toute la cantine sur une seule machine, dans le navigateur."
    )
    parser.add_argument("--once", action="store_true", help="jouer les cinq scènes sans navigateur, puis finir")
    parser.add_argument("--hands", type=Path, help="dossier d'images de mains avec un index.csv (file, subject)")
    parser.add_argument("--port", type=int, default=_DEFAULT_PORT, help="premier de cinq ports (8000)")
    parser.add_argument("--folder", type=Path, default=_DEFAULT_FOLDER, help="où la démonstration garde ses données")
    parser.add_argument("--clean", action="store_true", help="oublier la démonstration précédente, puis finir")
    arguments = parser.parse_args(argv)
    try:
        if arguments.clean:
            return _forget(arguments.folder)
        people = people_of_folder(arguments.hands) if arguments.hands else synthetic_people()
        if arguments.once:
            return _play_once(people)
        return _serve(arguments.folder.resolve(), Ports.following(arguments.port), people)
    except DemoError as error:
        _console.print(f"canteen-demo : {error}", style="bold red", markup=False)
        return 2


def _serve(folder: Path, ports: Ports, people: list[Person]) -> int:
    """Run until Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    _make_private(folder)
    started_s = time.monotonic()
    with _progress() as progress:
        canteen = Canteen(Layout(folder), ports, people, _Reporter(progress))
        try:
            canteen.start()
        except DemoError:
            canteen.stop()
            raise
    lane = LaneServer(canteen)
    lane.start()
    _console.print(f"\nPrêt en {time.monotonic() - started_s:.1f} s. Ouvrez dans le navigateur :\n")
    for what, address in (
        ("la file", f"http://127.0.0.1:{ports.lane}/"),
        ("le registre", canteen.operator_link(ports.billing)),
        ("la borne d'inscription", canteen.operator_link(ports.station)),
        ("l'écran seul", f"http://127.0.0.1:{ports.display}/"),
        ("le personnel", canteen.staff_link),
    ):
        _console.print(f"  {what:<24}{address}", soft_wrap=True)
    _console.print("\nCtrl-C arrête tout ; les données restent (`make demo-clean` les oublie).")
    while not stop.wait(1):
        for program in canteen.programs.values():
            if not program.running:
                _console.print(f"{program.name} s'est arrêté : relancé.", style="yellow")
                program.restart()
    _console.print("\nArrêt…")
    lane.stop()
    canteen.stop()
    return 0


def _play_once(people: list[Person]) -> int:
    """The script, in a folder of its own that is forgotten at the end; the last line of the output is JSON."""
    folder = Path(tempfile.mkdtemp(prefix="canteen-"))
    try:
        with _progress() as progress:
            canteen = Canteen(Layout(folder), Ports.any_free(), people, _Reporter(progress))
            try:
                canteen.start()
                report = Story(canteen, progress.console.print).play()
            finally:
                canteen.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if report.failed:
        _console.print(f"canteen-demo : {report.failed}", style="bold red", markup=False)
    print(json.dumps(report.as_json(), ensure_ascii=False))
    return 0 if report.ok else 1


def _forget(folder: Path) -> int:
    """Remove the demonstration's folder, and only that."""
    if (folder / "pki").is_dir():
        shutil.rmtree(folder)
        _console.print(f"{folder} : oublié.")
    else:
        _console.print(f"{folder} : pas de démonstration ici, rien à oublier.")
    return 0


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), console=_console, transient=True
    )


class _Reporter:
    """One bar for each kind of long work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
