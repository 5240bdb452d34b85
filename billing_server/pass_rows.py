"""What entries say of passes, as rows: all but the places in the feeds, which are drawn where they are stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from struct import Struct as Layout
from typing import TypeVar

from msgspec import Struct

from billing_server.batch_reading import ReadEntry
from billing_server.bulk import NOTHING, day_field, text_field, whole_field, word_field
from billing_server.pass_bodies import DeniedBody, GrantedBody, OutcomeBody, PassBody
from canteen.access_decision import Reason
from canteen.entitlements import EntitlementKind
from canteen.meal_pass import PassMethod, PassOutcome
from sync.facts import FactKind

_Told = TypeVar("_Told")

OUTCOMES = {
    FactKind.PASS_COMPLETED.value: PassOutcome.COMPLETED.value,
    FactKind.PASS_ABANDONED.value: PassOutcome.ABANDONED.value,
    FactKind.PASS_UNRESOLVED.value: PassOutcome.UNRESOLVED.value,
}

_METHODS = {method: method.value for method in PassMethod}
_REASONS = {reason: reason.value for reason in Reason}
_ENTITLEMENTS: dict[EntitlementKind | None, str | None] = {None: None, **{kind: kind.value for kind in EntitlementKind}}
"""A `StrEnum`'s own `value` costs as much as the rest of its row."""

GRANTED_COLUMNS = (
    "position",
    "outcome_position",
    "outcome",
    "outcome_at",
    *("device", "generation", "method", "charged_to", "clock_trust", "period"),
    *("sequence", "pass_id", "pupil", "granted_at", "day", "forced_because"),
)
"""In this order the rows of `passes` come: what is drawn last stands first, what comes again and again together."""

_PLACES = Layout(">iqiq").pack
_OF_ONE = Layout(">iqi26si18s12s8s").pack
_OUTCOME_FIELDS = {kind: word_field(outcome) for kind, outcome in OUTCOMES.items()}
_OPEN = NOTHING + word_field(PassOutcome.OPEN.value) + NOTHING


class Granted(Struct, gc=False):
    """A row of `passes` that a batch brings.

    Attributes:
        octets: the row from `device` on.
        told: the entry that tells the outcome, if the same batch brings it.
        settled: with `told`, the row from `outcome` on.
    """

    read: ReadEntry
    body: GrantedBody
    octets: bytes
    told: ReadEntry | None = None
    settled: bytes = b""

    def settle(self, told: ReadEntry) -> None:
        """Its outcome is this."""
        self.told, self.settled = told, _OUTCOME_FIELDS[told.kind] + told.instant + self.octets

    def row(self, position: int, told: ReadEntry | None, place: int) -> bytes:
        """As `insert_rows` takes it: with the entry that tells its outcome, and that one's place in its feed."""
        if told is None:
            return whole_field(position) + _OPEN + self.octets
        if told is not self.told:
            self.settle(told)
        return _PLACES(8, position, 8, place) + self.settled


class Denied(Struct, gc=False):
    """A row of `denials`, likewise."""

    read: ReadEntry
    body: DeniedBody
    day: date

    def row(self, position: int) -> bytes:
        """As `insert_rows` takes it."""
        read, body = self.read, self.body
        return b"".join(
            (
                whole_field(position),
                word_field(read.device),
                word_field(read.generation),
                whole_field(read.sequence),
                text_field(body.pass_id),
                NOTHING if body.pupil is None else text_field(body.pupil),
                word_field(_METHODS[body.method]),
                word_field(_REASONS[body.reason]),
                day_field(self.day),
                read.instant,
                word_field(read.clock_trust),
            )
        )


@dataclass(slots=True)
class Passes:
    """What entries say of passes, collected so that it is written in a few statements.

    Attributes:
        outcomes: the entry that tells what became of a pass.
        repeated: the pass, and the entry that tells once more of its grant or outcome.
        others: entries that are not plainly of passes, in order.
        meals: the pupils whose meals of a day the grants are about.
        prepaid: those of them that are prepaid, and the day.
    """

    granted: dict[str, Granted] = field(default_factory=dict)
    outcomes: dict[str, ReadEntry] = field(default_factory=dict)
    denied: list[tuple[ReadEntry, DeniedBody]] = field(default_factory=list)
    repeated: list[tuple[str, ReadEntry]] = field(default_factory=list)
    others: list[ReadEntry] = field(default_factory=list)
    meals: dict[date, set[str]] = field(default_factory=dict)
    prepaid: set[tuple[str, date]] = field(default_factory=set)

    def take(self, read: ReadEntry, body: PassBody) -> None:
        """One more entry, that says this."""
        pass_id = body.pass_id
        if isinstance(body, OutcomeBody):
            if self.outcomes.setdefault(pass_id, read) is not read:
                self.repeated.append((pass_id, read))
        elif isinstance(body, DeniedBody):
            self.denied.append((read, body))
        elif pass_id in self.granted:
            self.repeated.append((pass_id, read))
        else:
            self.granted[pass_id] = Granted(read, body, _octets(read, body))
            self.meals.setdefault(body.day, set()).add(body.pupil)
            if body.charged_to is EntitlementKind.EXTERNAL_MEAL:
                self.prepaid.add((body.pupil, body.day))

    def add(self, later: Passes) -> None:
        """All that later entries say."""
        self.repeated += later.repeated
        self.repeated += [(one, granted.read) for one, granted in _join(self.granted, later.granted)]
        self.repeated += _join(self.outcomes, later.outcomes)
        self.denied += later.denied
        self.others += later.others
        for day, pupils in later.meals.items():
            self.meals.setdefault(day, set()).update(pupils)
        self.prepaid |= later.prepaid


def _join(known: dict[str, _Told], later: dict[str, _Told]) -> list[tuple[str, _Told]]:
    """Put `later` to `known`; what was known already stands, and is returned as it was told again."""
    again = known.keys() & later.keys()
    known.update({one: told for one, told in later.items() if one not in again} if again else later)
    return [(one, later[one]) for one in sorted(again)]


def gathered(entries: Iterable[ReadEntry]) -> Passes:
    """What `entries` say of passes, plainly; the others are kept apart."""
    passes = Passes()
    outcomes = passes.outcomes
    for read in entries:
        body = read.pass_body
        if type(body) is OutcomeBody and body.pass_id not in outcomes:
            outcomes[body.pass_id] = read  # half of a healthy batch, without a call
        elif body is None:
            passes.others.append(read)
        else:
            passes.take(read, body)
    for pass_id, grant in passes.granted.items():
        if (told := outcomes.get(pass_id)) is not None:
            grant.settle(told)
    return passes


@lru_cache(1000)
def _words(
    device: str, generation: str, method: PassMethod, charged_to: EntitlementKind | None, trust: str, period: str
) -> bytes:
    """The fields that many passes of a batch share."""
    charged = _ENTITLEMENTS[charged_to]
    words = (device, generation, _METHODS[method], charged, trust)
    return b"".join([NOTHING if word is None else word_field(word) for word in words]) + text_field(period)


def _octets(read: ReadEntry, body: GrantedBody) -> bytes:
    forced = body.forced_because
    return b"".join(
        (
            _words(read.device, read.generation, body.method, body.charged_to, read.clock_trust, body.period),
            _OF_ONE(
                *(8, read.sequence, 26, body.pass_id.encode(), 18, body.pupil.encode()),
                *(read.instant, day_field(body.day)),
            ),
            NOTHING if forced is None else text_field(forced),
        )
    )
