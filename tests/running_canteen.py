"""A whole canteen for a test: real processes, real broker, simulated devices, in a folder removed at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from demo.canteen import Canteen
from demo.layout import Layout, Ports
from demo.people import Person, synthetic_people


@contextmanager
def running_canteen(people: Sequence[Person] | None = None) -> Iterator[Canteen]:
    """Started and filled; stopped and removed afterwards. A short folder name: Unix sockets have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="canteen-"))
    try:
        canteen = Canteen(Layout(folder), Ports.any_free(), people or synthetic_people(), lambda *_: None)
        try:
            canteen.start()
            yield canteen
        finally:
            canteen.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
