"""What can be wrong at the server; each class is one thing that a caller answers in its own way."""

from __future__ import annotations

from dataclasses import dataclass

from canteen.errors import CanteenError


class BillingError(CanteenError):
    """The base of this package's errors."""


class ConfigurationRefused(BillingError):
    """The configuration file is missing or says something impossible; the message is for the administrator."""


class CannotServe(BillingError):
    """The server cannot start here and now; the message says why and what to do."""


class VaultBroken(BillingError):
    """A sealed column does not open: another key, or somebody changed the database."""


class UnknownPupil(BillingError):
    """No such pupil here."""


class UnknownCard(BillingError):
    """No such card here."""


class CodeTaken(BillingError):
    """Another pupil has, or until their purge is complete had, this code."""


class CodesExhausted(CodeTaken):
    """So many of the school's codes are given that a code typed at random would often be somebody's."""


class DeviceConflict(BillingError):
    """A device of this name is registered with other keys; nothing was changed."""


class NothingToSettle(BillingError):
    """No such pass or fork is here."""


class NotADocument(BillingError):
    """A file to be checked is none that this program makes; the message says which."""


class UnknownDevice(BillingError):
    """No such device here."""


class CodeRefused(BillingError):
    """A code that lets no device in: never given, too old, or used by another."""


class NotARequest(BillingError):
    """Not a certificate request that we sign."""


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong in one row of an import; `row` counts from 1, the heading excluded."""

    row: int
    what: str


class ImportRefused(BillingError):
    """Rows of an import are wrong; nothing was imported."""

    def __init__(self, rows: list[RowError]) -> None:
        super().__init__(f"{len(rows)} rows are wrong")
        self.rows = rows
