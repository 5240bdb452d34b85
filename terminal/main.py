"""`canteen-terminal`: runs a terminal, prints its public keys, gives staff their links, says how it is."""

from __future__ import annotations

import argparse
import base64
import gc
import json
import logging
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from canteen.command_line import console_script, session_language
from canteen.errors import CanteenError
from hand_geometry.errors import HandGeometryError
from sync.signing import SigningKey
from terminal.allocation import share_one_heap
from terminal.configuration import Configuration, read_configuration
from terminal.display.language import _, said_in
from terminal.doctor import ExitStatus, ask_running, examine_idle, said
from terminal.hardening import harden_process
from terminal.pass_machine import Event
from terminal.staff_access import add_person

_log = logging.getLogger("canteen.terminal.main")

COMMANDS = ("run", "provision", "keys", "staff", "doctor", "install-key", "purge")


@console_script
def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["purge"]:
        from terminal.purge_command import main as purge  # an officer's command: no configuration, no devices

        return purge(argv[1:])
    if argv[:1] == ["calibrate"]:
        from terminal.calibration_command import main as calibrate  # loads OpenCV

        return calibrate(argv[1:])
    if argv[:1] == ["provision"]:
        from sync.device_setup import provision  # before there is a configuration
        from terminal.provisioning import TERMINAL

        return provision(TERMINAL, argv[1:])
    language = session_language()
    described = said_in(
        language, _("La borne de la cantine : son service, ses clés, un lien pour le personnel, son état.")
    )
    parser = argparse.ArgumentParser(prog="canteen-terminal", description=described)
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="run")
    parser.add_argument(
        "name",
        nargs="?",
        default="",
        help=said_in(language, _("Le nom, pour « staff » ; reader, gate ou trays, pour « install-key »")),
    )
    parser.add_argument("--json", action="store_true", help=said_in(language, _("Pour « doctor » : en JSON")))
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    harden_process()
    share_one_heap()
    try:
        configuration = read_configuration(arguments.config)
        if arguments.command == "keys":
            print_keys(configuration)
        elif arguments.command == "doctor":
            return see_doctor(configuration, language, as_json=arguments.json)
        elif arguments.command == "install-key":
            return install(configuration, arguments.name, language)
        elif arguments.command == "staff":
            sys.stdout.write(add_person(arguments.config, configuration, arguments.name) + "\n")
        else:
            run(configuration)
    except (CanteenError, HandGeometryError, OSError) as error:
        said = said_in(language, _("La borne ne démarre pas : {why}"))
        sys.stderr.write(said.replace("{why}", str(error)) + "\n")
        return 1
    return 0


def print_keys(configuration: Configuration) -> None:
    """The public halves, as one line of JSON for the server's directory; the private ones are made on first use."""
    verifying = SigningKey.load_or_create(configuration.signing_key).verifying_key
    sealing = configuration.opening_key().sealing_key
    keys = {
        "device": configuration.device,
        "verifying_key": base64.b64encode(verifying.octets).decode("ascii"),
        "sealing_key": base64.b64encode(sealing.octets).decode("ascii"),
    }
    sys.stdout.write(json.dumps(keys) + "\n")


def see_doctor(configuration: Configuration, language: str, *, as_json: bool) -> int:
    """Say how the terminal is, whether it runs or not."""
    logging.disable(logging.WARNING)  # the findings are the answer
    report = ask_running(configuration.display_host, configuration.display_port) or examine_idle(configuration)
    sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n" if as_json else said(report, language))
    return ExitStatus.AT_RISK if report["at_risk"] else ExitStatus.WELL


def install(configuration: Configuration, only: str, language: str) -> int:
    """Give the boards their keys; 0 where all hold them."""
    from terminal.key_command import install_keys  # loads OSDP

    logging.disable(logging.WARNING)  # the outcome is said in words
    said = install_keys(configuration, only, language, print, input)
    return ExitStatus.WELL if said else ExitStatus.NOT_EXAMINED


def run(configuration: Configuration) -> None:
    """Serve until SIGTERM or SIGINT."""
    gc.disable()  # what a start makes stays: looking through it again and again costs a twentieth of the start
    from terminal.assembly import assemble  # the devices' libraries; `keys` needs none of them

    with ExitStack() as closing:
        lane = assemble(configuration, closing)
        for asked_to_end in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked_to_end, lambda *_: lane.inbox.post(Event.STOPPING))
        lane.start()
        gc.freeze()
        gc.enable()
        _log.info("the lane of %s runs", configuration.device)
        lane.runner.run()
        _log.info("the lane of %s ends", configuration.device)


if __name__ == "__main__":
    sys.exit(main())
