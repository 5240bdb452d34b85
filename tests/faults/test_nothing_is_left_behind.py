"""Whoever starts programs is killed, and cannot stop them: the kernel does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from demo.broker import start_broker, write_broker_configuration
from demo.pki import CertificateAuthority
from demo.processes import PROJECT, Program
from tests.conftest import free_port, listening, wait_until


def running(process: int) -> bool:
    """Whether it is there, and no zombie that nobody has buried."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def start_both(folder: Path, port: int) -> None:
    """A program and a broker, each asked for by a thread that ends; then their numbers, and waiting to be killed."""
    program = Program("sleeper", ["sleep", "600"], folder / "log")
    authority = CertificateAuthority(folder / "pki")
    brokers: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        program.start()
        brokers.append(start_broker(write_broker_configuration(folder / "broker", port, authority), folder / "b.log"))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    wait_until(lambda: listening(port), what="the broker")
    sys.stdout.write(f"{program.pid} {brokers[0].pid}\n")
    sys.stdout.flush()
    time.sleep(600)


def test_programs_outlive_the_thread_and_not_the_process(tmp_path: Path) -> None:
    """A page's worker thread may end; a demonstration that is killed leaves nothing."""
    command = [sys.executable, "-m", "tests.faults.test_nothing_is_left_behind", str(tmp_path), str(free_port())]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        started = [int(number) for number in parent.stdout.readline().split()]
        time.sleep(0.3)
        assert [True, True] == [running(one) for one in started]
        parent.kill()
        parent.wait()
        wait_until(lambda: not any(map(running, started)), 5, "the end of what it had started")


if __name__ == "__main__":
    start_both(Path(sys.argv[1]), int(sys.argv[2]))
