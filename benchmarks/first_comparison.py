"""In a process of its own: from the first import to the first comparison, in seconds and MiB.

Run as `python -m benchmarks.first_comparison` with one line of JSON on its input: a reference and a picture in base64.
Nothing is imported before the clock runs; `measure_first_comparison` is the side of the one who asks.
"""

from __future__ import annotations

import time

_STARTED_S = time.perf_counter()

# ruff: noqa: E402 - the clock comes first
import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.hands import BenchHand

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class FirstComparison:
    """What it took: by the clock, of the processor, of memory at its peak."""

    seconds: float
    cpu_s: float
    peak_mib: float


def measure_first_comparison(hand: BenchHand) -> FirstComparison:
    """Once, in a fresh process.

    Raises:
        BenchmarkFailed: it failed, did not match, or loaded scikit-learn.
    """
    from benchmarks.child import PROJECT
    from benchmarks.errors import BenchmarkFailed
    from benchmarks.language import _
    from hand_geometry.reference_codec import encode_reference

    task = {
        "reference": base64.b64encode(encode_reference(hand.reference)).decode("ascii"),
        "picture": base64.b64encode(hand.picture).decode("ascii"),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.first_comparison"],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            cwd=PROJECT,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailed(_("un programme n'est pas prêt à temps")) from error
    if done.returncode != 0:
        raise BenchmarkFailed(_("la première comparaison a échoué :") + "\n" + done.stderr[-500:])
    answer = json.loads(done.stdout)
    if not answer["matched"] or answer["scikit_learn"]:
        raise BenchmarkFailed(_("la première comparaison n'est pas celle de la borne") + f" : {answer}")
    return FirstComparison(float(answer["seconds"]), float(answer["cpu_s"]), float(answer["peak_mib"]))


def _main() -> None:
    untrusted_task = json.loads(sys.stdin.readline())
    reference_octets = base64.b64decode(untrusted_task["reference"])
    picture = base64.b64decode(untrusted_task["picture"])

    from hand_geometry.acquisition import Features, acquire, decode_image
    from hand_geometry.comparison import compare, decide
    from hand_geometry.reference_codec import decode_reference

    image = decode_image(picture)
    probe = None if image is None else acquire(image)
    matched = isinstance(probe, Features) and decide(compare(decode_reference(reference_octets), probe))
    seconds, cpu_s = time.perf_counter() - _STARTED_S, time.process_time()

    from benchmarks.child import resident_mib

    peak_mib = resident_mib(Path("/proc/self/status").read_text(encoding="utf-8"), "VmHWM")
    answer = {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "peak_mib": peak_mib,
        "matched": matched,
        "scikit_learn": "sklearn" in sys.modules,
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    _main()
