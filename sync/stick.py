"""A stick at the device: noticed, exchanged both ways, and told of; nobody has to type a command.

The machine mounts what is plugged in at one folder (systemd/canteen-stick.rules). A stick is meant for us if it holds
a folder `canteen`: what the server's page gave lies in it as `ordres-….jsonl`, and `passages-DEVICE.jsonl` is put
beside it, sealed for the server. Everything else on it may be anybody's: links are not followed, nothing but files is
opened, and a file has an end.
"""

from __future__ import annotations

import errno
import heapq
import logging
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.carried_file import CarriedCount, journal_lines, read_carried_down, renewal_line, write_carried_file
from sync.downlink import Downlink
from sync.errors import JournalUnavailable, MalformedMessage, OrderBoxUnavailable
from sync.order_box import OrderBox, StickVisit
from sync.pass_journal import JournalReader
from sync.renewal import Renewal
from sync.sealing import SealingKey

_log = logging.getLogger("canteen.sync.stick")

OURS = "canteen"
NO_STICK, NO_SEAL = "no-stick", "no-seal"
_LOOK_EVERY_S = 2.0
_FILES_MOST = 50
_LINES_MOST = 20_000
"""More than a school's orders of a year."""
_OCTETS_MOST = 256 * 1024 * 1024
"""Of all files together: blank lines and those for others count for no line, and would otherwise have no end."""


class Stick:
    """Looks for a stick, exchanges it once when it comes and whenever somebody asks."""

    def __init__(
        self,
        folder: Path,
        journal: JournalReader,
        box: OrderBox,
        downlink: Downlink,
        device: DeviceId,
        server: SealingKey | None,
        renewal: Renewal,
        clock: Clock,
    ) -> None:
        """`folder` is where sticks are mounted; `server` seals what goes up."""
        self._folder, self._journal, self._box, self._downlink = folder, journal, box, downlink
        self._device, self._server, self._renewal, self._clock = device, server, renewal, clock
        self._there = False

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.wait(_LOOK_EVERY_S):
            try:
                self.step()
            except (JournalUnavailable, OrderBoxUnavailable) as trouble:
                _log.error("%s", trouble)  # the terminal's disk; the next look may find it well

    def step(self) -> None:
        """One look, and the exchange if it is time."""
        there = _lies_in(self._folder)
        if (there and not self._there) or self._box.stick_asked:
            visit = self.exchange()
            self._box.note_stick(visit)
            _log.info(
                "stick: %d messages taken, %d lines refused, %d entries written %s",
                visit.taken,
                visit.refused,
                visit.written,
                visit.trouble,
            )
        self._there = there  # only now: where the terminal's disk was ill, the stick is exchanged at a later look

    def exchange(self) -> StickVisit:
        """The server's files first, so that what they acknowledge need not be carried; then ours."""
        taken = refused = written = 0
        trouble = ""
        try:
            with _opened_folder(self._folder / OURS) as folder:
                with os.scandir(folder) as entries:
                    # Not sorted whole: a stick made for it holds millions of names, and this program has 200 MB.
                    names = heapq.nsmallest(_FILES_MOST, (one.name for one in entries if _is_for_us(one.name)))
                left = _OCTETS_MOST
                for name in names:
                    count, octets = self._take(name, folder, left)
                    taken, refused, left = taken + count.taken, refused + count.refused, left - octets
                written = self._journal.backlog
                if self._server is None:
                    written, trouble = 0, NO_SEAL
                else:
                    lines = lines_up(self._journal, self._device, self._server, self._renewal)
                    write_carried_file(Path(f"passages-{self._device}.jsonl"), lines, folder)
                os.fsync(folder)
        except FileNotFoundError:
            written, trouble = 0, NO_STICK
        except OSError as error:
            written, trouble = 0, error.strerror or type(error).__name__
        return StickVisit(self._clock.utc_now(), taken, refused, written, trouble)

    def _take(self, name: str, folder: int, most_octets: int) -> tuple[CarriedCount, int]:
        """What became of a file's lines, and how large it was."""
        try:
            with _opened_file(name, folder) as file:
                octets = os.fstat(file.fileno()).st_size
                if octets > most_octets:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
                lines = islice(read_carried_down(file, self._device), _LINES_MOST)
                return self._downlink.handle_carried(lines), octets
        except OSError as error:
            _log.warning("a file on the stick is not read: %s", error.strerror)
            return CarriedCount(taken=0, refused=1), 0


def lines_up(journal: JournalReader, device: DeviceId, server: SealingKey, renewal: Renewal) -> Iterator[bytes]:
    """All that this device has for the server: its journal, and its wish for a certificate if it is time."""
    try:
        wish = renewal.wish()
    except (MalformedMessage, OSError) as trouble:
        _log.error("no certificate is asked for: %s", trouble)
    else:
        if wish is not None:
            yield renewal_line(wish, device, server)
    yield from journal_lines(journal, device, server)


def _lies_in(folder: Path) -> bool:
    try:
        return (folder / OURS).is_dir()
    except OSError:
        return False  # pulled out just now, or broken: no stick, and no end of looking


def _is_for_us(name: str) -> bool:
    return name.startswith("ordres-") and name.endswith(".jsonl")


@contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _opened_file(name: str, folder: int) -> Iterator[IO[bytes]]:
    """A file, and nothing that only has a file's name: a pipe would keep us for ever."""
    number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "not a file")
        yield file
