"""`canteen-terminal doctor`: asks the terminal that runs, or looks for itself where none does.

A serial line and a camera have one owner: beside a running terminal the doctor only asks it, over its screen's server.
"""

from __future__ import annotations

import http.client
import json
import time
from contextlib import ExitStack
from enum import IntEnum
from typing import Any

from terminal.configuration import Configuration
from terminal.devices import Devices
from terminal.display.doctor import PATH
from terminal.display.language import _, both
from terminal.findings import Check, Verdict, summed_up, told

_ANSWER_S = 6.0
"""The camera may take a second to be silent, the store a moment; a terminal that needs longer does not serve either."""
_DEVICES_WITHIN_S = 1.5
_LONGEST_ANSWER = 1 << 20


class ExitStatus(IntEnum):
    """What a shell or a supervisor reads."""

    WELL = 0
    NOT_EXAMINED = 1
    AT_RISK = 2


def ask_running(host: str, port: int) -> dict[str, Any] | None:
    """What the terminal on that port says of itself; None where nobody listens."""
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_S)
    try:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        untrusted = answer.read(_LONGEST_ANSWER)
        if answer.status == http.client.OK:
            return _parsed(untrusted)
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException):
        pass  # told below: somebody is there, and does not answer as a terminal does
    except ValueError:
        return _alone(_("Sur le port de l’écran répond un autre programme"))
    finally:
        connection.close()
    return _alone(_("La borne tourne mais ne répond pas : la redémarrer"))


def examine_idle(configuration: Configuration) -> dict[str, Any]:
    """Look for oneself: no terminal runs. Opens the devices for a moment, and files only where they are.

    Raises:
        CanteenError, OSError: it would not start either; the message says why.
    """
    for path in (configuration.journal, configuration.store, configuration.orders):
        if not path.exists():
            return _alone(_("Cette borne n’a encore jamais servi : ses fichiers manquent"))
    from terminal.assembly import assemble  # loads OpenCV

    with ExitStack() as closing:
        lane = assemble(configuration, closing, settle=False)
        lane.start()
        until_s = time.monotonic() + _DEVICES_WITHIN_S
        while not _all_answer(lane.devices) and time.monotonic() < until_s:
            time.sleep(0.02)
        report = lane.checkup.run_now().as_json()
    stopped = Check("program", Verdict.RISK, _("La borne ne tourne pas"))
    return {**report, "at_risk": ["program", *report["at_risk"]], "checks": [stopped.as_json(), *report["checks"]]}


def _all_answer(devices: Devices) -> bool:
    return devices.board.online and (devices.card_reader is None or devices.card_reader.ready)


def said(report: dict[str, Any], language: str) -> str:
    """The whole report in words."""
    return told(report["checks"], language) + summed_up(report, language)


def _parsed(untrusted: bytes) -> dict[str, Any]:
    """Raises ValueError for what is no report."""
    report = json.loads(untrusted)
    try:
        for check in report["checks"]:
            Verdict(check["verdict"])
            if not isinstance(check["said"]["fr"] + check["said"]["en"], str):
                raise TypeError
        if not isinstance(report["at_risk"], list):
            raise TypeError
    except (KeyError, TypeError) as error:
        raise ValueError("no report") from error
    return dict(report)


def _alone(sentence: str) -> dict[str, Any]:
    words = both(sentence)
    check = {
        "name": "program",
        "verdict": Verdict.RISK.value,
        "said": {"fr": words.fr, "en": words.en},
        "measured": {},
    }
    return {"at_risk": ["program"], "checks": [check]}
