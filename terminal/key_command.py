"""`canteen-terminal install-key`: gives the boards on the line their keys, in a window opened on purpose."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from canteen.clock import ClockTrust, SystemClock
from firmware_bridge.devices import Role
from firmware_bridge.key_installation import KeyOutcome, install_channel_key
from sync.errors import JournalUnavailable
from sync.facts import BoardKeyed, Fact
from sync.pass_journal import PassJournal
from sync.signing import SigningKey
from terminal.configuration import Configuration
from terminal.display.language import _, said_in
from terminal.kept_keys import KeptKeys

_SAID = {
    KeyOutcome.INSTALLED: _("Adresse {address} : première clé installée et vérifiée"),
    KeyOutcome.REPLACED: _("Adresse {address} : clé remplacée et vérifiée"),
    KeyOutcome.ALREADY: _("Adresse {address} : la clé d’un essai précédent est en place, vérifiée"),
    KeyOutcome.NO_DEVICE: _("Adresse {address} : la ligne manque, ou la borne tourne : l’arrêter d’abord"),
    KeyOutcome.SILENT: _("Adresse {address} : personne ne répond ; rien n’est changé"),
    KeyOutcome.REFUSED: _("Adresse {address} : la carte a une autre clé ; la remettre en mode d’installation"),
}
_WARNING = _(
    "Fenêtre de maintenance : la première clé passe par la ligne sous une clé publique. Personne d’autre ne doit être "
    "branché. Taper « oui » pour continuer : "
)


def install_keys(
    configuration: Configuration, only: str, language: str, say: Callable[[str], None], ask: Callable[[str], str]
) -> bool:
    """Give every peripheral, or the one with the role `only`, a fresh key; whether all hold it.

    Raises:
        CanteenError, OSError: a key file is not ours alone, or cannot be written.
    """
    board = configuration.board
    chosen = [one for one in board.peripherals if not only or only in {role.value for role in one.roles}]
    if not chosen:
        say(
            said_in(language, _("Personne sur la ligne n’est « {role} » : {roles}"))
            .replace("{role}", only)
            .replace("{roles}", ", ".join(Role))
        )
        return False
    if ask(said_in(language, _WARNING)).strip().lower() not in ("oui", "yes"):
        say(said_in(language, _("Rien n’est changé.")))
        return False
    keys, outcomes = KeptKeys.of(configuration), {}
    for one in chosen:
        outcome = install_channel_key(
            board.serial, board.baud, one.address, one.channel_key, keys, production=configuration.production
        )
        say(said_in(language, _SAID[outcome]).replace("{address}", str(one.address)))
        outcomes[one.address] = outcome
    try:
        _record(configuration, [BoardKeyed(address, outcome.value) for address, outcome in outcomes.items()])
    except JournalUnavailable:
        say(said_in(language, _("Le journal n’a pas pu le noter.")))
    return all(outcome.done for outcome in outcomes.values())


def _record(configuration: Configuration, facts: list[Fact]) -> None:
    """Into the terminal's journal, with the next words to the server; raises JournalUnavailable."""
    key = SigningKey.load_or_create(configuration.signing_key)
    with closing(PassJournal(configuration.journal, configuration.device, key)) as journal:
        journal.append_all(facts, SystemClock().utc_now(), ClockTrust.UNCONFIRMED)
