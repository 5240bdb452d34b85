"""`canteen-demo --once`: one lunch as a script, with the same processes and the same broker, checked step by step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from canteen.access_decision import Reason
from demo.canteen import Canteen
from demo.errors import DemoError
from demo.people import Hand, Person, Way
from sync.encoding import canonical
from sync.errors import SyncError
from sync.fact_bodies import read_fact
from sync.facts import PurgeReceipt
from sync.messages import read_batch

_ANSWER_WITHIN_S = 15.0
_LEDGER_WITHIN_S = 10.0
_RECONNECT_WITHIN_S = 30.0


class StoryFailed(DemoError):
    """Something that had to happen did not."""


@dataclass
class Report:
    """What was seen to happen; the last line that `--once` prints."""

    granted: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    recorded: int = 0
    recorded_denials: int = 0
    purged: dict[str, Any] = field(default_factory=dict)
    recovered: int = 0
    took_ms: list[int] = field(default_factory=list)
    failed: str | None = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.failed is None

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "granted": len(self.granted),
            "granted_by": dict(Counter(self.granted)),
            "denied": dict(Counter(self.denied)),
            "recorded": self.recorded,
            "recorded_denials": self.recorded_denials,
            "purged": self.purged,
            "recovered": self.recovered,
            "decision_ms": sorted(self.took_ms),
            "failed": self.failed,
            "seconds": round(self.seconds, 1),
        }


class Story:
    """Plays the five scenes. Every step waits for what it is about, and says so when it does not come."""

    def __init__(self, canteen: Canteen, tell: Callable[[str], None]) -> None:
        self._canteen, self._tell = canteen, tell
        self.report = Report()
        people = canteen.people
        self._by_hand = [person for person in people if person.way is Way.HAND and person.entitled]
        self._by_card = [person for person in people if person.way is Way.CARD]
        self._undecided = [person for person in people if person.way is Way.UNDECIDED]
        self._external = next(person for person in people if not person.entitled)

    def play(self) -> Report:
        """The whole lunch. Never raises for what did not happen: it is in the report."""
        started_s = time.monotonic()
        try:
            self._lane()
            self._ledger()
            self._station()
            self._departure()
            self._cut()
        except DemoError as failure:
            self.report.failed = str(failure)
        self.report.seconds = time.monotonic() - started_s
        return self.report

    # Scenes

    def _lane(self) -> None:
        self._tell("1. La file : mains, cartes et refus")
        first, second, *_ = self._by_hand
        self._pass_by_hand(first, first.probes[0])
        self._refused(lambda: self._type(self._canteen.code_of(first)), Reason.ALREADY_SERVED)
        self._refused(lambda: self._type(self._wrong_code()), Reason.UNKNOWN_CODE)
        self._refused(lambda: self._type_and_lay(second, first.probes[1]), Reason.HAND_NOT_MATCHED)
        self._pass_by_hand(second, second.probes[0])
        self._pass_by_card(self._by_card[0])
        self._refused(lambda: self._type(self._canteen.code_of(self._by_card[1])), Reason.CARD_REQUIRED)
        self._refused(lambda: self._type(self._canteen.code_of(self._external)), Reason.NO_ENTITLEMENT_TODAY)

    def _ledger(self) -> None:
        self._tell("2. Le registre : chaque passage et chaque refus y est, une fois")
        self._wait(self._ledger_has_all, _LEDGER_WITHIN_S, "tous les passages au registre")
        served = self._canteen.billing.get("/api/counts")["served"]
        if served != len(self.report.granted):
            raise StoryFailed(f"{served} repas comptés au lieu de {len(self.report.granted)}")

    def _station(self) -> None:
        self._tell("3. La borne d'inscription : consentement, main, carte")
        consenting, opposing = self._undecided[:2]
        station, pupils = self._canteen.station, self._canteen.pupils
        self._refused(lambda: self._type(self._canteen.code_of(consenting)), Reason.CARD_REQUIRED)
        if station.enroll_without_consent_is_refused(
            pupils[consenting.key], [hand.encoded() for hand in consenting.enrolment]
        ):
            self._tell("   sans consentement, la borne refuse d'enregistrer une main")
        else:
            raise StoryFailed("la borne a enregistré une main sans consentement")
        station.consent(pupils[consenting.key], "given")
        answer = station.enroll(pupils[consenting.key], [hand.encoded() for hand in consenting.enrolment])
        if not answer["enrolled"]:
            raise StoryFailed(f"{consenting.first_name} n'a pas pu être inscrit : {answer}")
        station.consent(pupils[opposing.key], "opposed")
        station.give_card(pupils[opposing.key], opposing.card.hexadecimal)
        self._canteen.wait_settled()
        self._pass_by_hand(consenting, consenting.probes[0])
        self._pass_by_card(opposing)

    def _departure(self) -> None:
        self._tell("4. Un départ : tout est effacé, chaque appareil en donne le reçu signé")
        leaver = self._by_hand[0]
        pupil = self._canteen.pupils[leaver.key]
        purge = self._canteen.billing.post(f"/api/pupils/{pupil}/departure")["purge"]
        self._wait(lambda: self._holders_left(purge) == [], _LEDGER_WITHIN_S, "les reçus de tous les appareils")
        receipts = self._receipts(purge)
        self.report.purged = {"pupils": 1, "receipts": len(receipts), "holders": sorted(receipts)}
        self._refused(lambda: self._type(self._canteen.codes[pupil]), Reason.UNKNOWN_CODE)

    def _cut(self) -> None:
        self._tell("5. Une coupure : les repas continuent, tout arrive ensuite, une seule fois")
        canteen = self._canteen
        canteen.switch.cut()
        self._wait(lambda: canteen.display()["network"]["connected"] is False, _ANSWER_WITHIN_S, "l'écran hors ligne")
        before = self._recorded_passes()
        during = [self._by_hand[2], self._by_hand[3], self._by_hand[4]]
        for person in during:
            self._pass_by_hand(person, person.probes[0])
        self._pass_by_card(self._by_card[1])
        if self._recorded_passes() != before:
            raise StoryFailed("un passage est arrivé au registre pendant la coupure")
        canteen.switch.restore()
        self._wait(self._ledger_has_all, _RECONNECT_WITHIN_S, "les passages de la coupure au registre")
        self.report.recovered = self._recorded_passes() - before
        self._wait(lambda: canteen.display()["network"]["connected"] is True, _ANSWER_WITHIN_S, "l'écran en ligne")

    # What a pupil does

    def _pass_by_hand(self, person: Person, hand: Hand) -> None:
        self._type_and_lay(person, hand)
        self._expect_grant(person, "hand")

    def _pass_by_card(self, person: Person) -> None:
        self._at_rest()
        self._canteen.world.present_card(person.card)
        self._expect_grant(person, "card")

    def _type(self, code: str) -> None:
        self._ready_for_keys()
        self._canteen.world.type_code(code)

    def _type_and_lay(self, person: Person, hand: Hand) -> None:
        self._ready_for_keys()
        self._canteen.world.lay(hand, person.first_name)
        self._canteen.world.type_code(self._canteen.code_of(person))

    def _expect_grant(self, person: Person, method: str) -> None:
        shown = self._answer()
        if shown["reason"] != Reason.GRANTED.value:
            raise StoryFailed(f"{person.first_name} devait passer, l'écran dit : {shown['reason']}")
        self._wait(self._canteen.world.push, _ANSWER_WITHIN_S, "le tourniquet")
        self.report.granted.append(method)
        if shown.get("took_ms") is not None:
            self.report.took_ms.append(int(shown["took_ms"]))
        self._tell(f"   {person.first_name} passe ({method}, {shown.get('took_ms')} ms)")

    def _refused(self, act: Callable[[], None], reason: Reason) -> None:
        act()
        shown = self._answer()
        if shown["reason"] != reason.value:
            raise StoryFailed(f"un refus « {reason.value} » était attendu, l'écran dit : {shown['reason']}")
        self.report.denied.append(reason.value)
        self._canteen.world.lift()
        self._tell(f"   refusé : {reason.value}")

    def _at_rest(self) -> None:
        self._wait(lambda: self._canteen.display().get("state") == "idle", _ANSWER_WITHIN_S, "l'écran d'accueil")

    def _ready_for_keys(self) -> None:
        """The next pupil need not wait for the end of a denial: the first digit wipes it off the screen."""
        ready = {"idle", "showing-denial"}
        self._wait(lambda: self._canteen.display().get("state") in ready, _ANSWER_WITHIN_S, "un écran libre")

    def _answer(self) -> dict[str, Any]:
        shown: dict[str, Any] = {}

        def decided() -> bool:
            shown.update(self._canteen.display())
            return shown["state"] in {"passage-open", "showing-denial"}

        self._wait(decided, _ANSWER_WITHIN_S, "une réponse du terminal")
        return shown

    def _wrong_code(self) -> str:
        """A code with a valid check digit that is nobody's."""
        from canteen.personal_code import personal_codes

        taken = set(self._canteen.codes.values())
        length = len(next(iter(taken)))
        return next(code for code in personal_codes(length) if code not in taken)

    # What the server has

    def _ledger_has_all(self) -> bool:
        passes = self._passes()
        denials = [row["reason"] for row in self._rows("/api/denials", limit=1000)]
        self.report.recorded, self.report.recorded_denials = len(passes), len(denials)
        if len({row["pass"] for row in passes}) != len(passes):
            raise StoryFailed("un passage est deux fois au registre")
        methods = Counter(row["method"] for row in passes if row["outcome"] == "completed")
        return methods == Counter(self.report.granted) and Counter(denials) == Counter(self.report.denied)

    def _recorded_passes(self) -> int:
        return len(self._passes())

    def _passes(self) -> list[dict[str, Any]]:
        return self._rows("/api/passes", limit=1000)

    def _rows(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        return list(self._canteen.billing.get(path, **parameters)[path.rsplit("/", 1)[1]])

    def _holders_left(self, purge: str) -> list[str]:
        return list(self._canteen.billing.get(f"/api/purges/{purge}")["missing"])

    def _receipts(self, purge: str) -> set[str]:
        """The devices whose receipt verifies, from its bytes and the device's own key, without trusting the server."""
        holders = self._canteen.billing.get(f"/api/purges/{purge}")["holders"]
        return {holder["device"] for holder in holders if self._receipt_holds(holder, purge)}

    def _receipt_holds(self, holder: dict[str, Any], purge: str) -> bool:
        receipt = holder["receipt"]
        wire = canonical({"v": receipt["header"]["v"], "entries": [receipt]})
        try:
            (entry,) = read_batch(wire)
            entry.verify(self._canteen.verifying_key_of(str(holder["device"])))
            fact = read_fact(entry.kind, entry.body)
        except SyncError:
            return False
        return isinstance(fact, PurgeReceipt) and fact.purge == purge

    def _wait(self, true: Callable[[], bool], within_s: float, what: str) -> None:
        end = time.monotonic() + within_s
        while not true():
            if time.monotonic() > end:
                raise StoryFailed(f"attendu pendant {within_s:.0f} s, en vain : {what}")
            time.sleep(0.03)
