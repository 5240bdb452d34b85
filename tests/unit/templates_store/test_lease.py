"""The lease against every way a clock can go wrong: set back, stopped, jumping, ahead by mistake, 1970, 2038."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canteen.consent import Consent, GivenBy
from canteen.credentials import PersonalCode
from canteen.identifiers import PupilId
from templates_store.encrypted_store import EncryptedStore
from templates_store.key_source import FileKeySource
from templates_store.lease import GRACE, Lease, LeaseEnd, LeaseStanding
from templates_store.store import PupilRecord, ReferenceAbsence, StoredReference

NOW = datetime(2026, 11, 23, 11, 45, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(days=7)
CONSENT = Consent("2026-09", GivenBy.LEGAL_REPRESENTATIVE, NOW)
ADA = PupilId("p-00000000000000aa")
HOUR_S, DAY_S = 3600.0, 86400.0


class Machine:
    """A store on a machine whose wall clock and running time are turned by hand, and which can be switched off."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wall, self.ran_s = folder, NOW, 1000.0
        self.store = self._open()

    def _open(self) -> EncryptedStore:
        return EncryptedStore(self.folder / "store.db", FileKeySource(self.folder / "store.key"), lambda: self.ran_s)

    def run(self, hours: float, *, wall_too: bool = True) -> LeaseStanding:
        """Let it run, tending the lease every ten minutes."""
        standing = self.store.tend(self.wall)
        for _ in range(round(hours * 6)):
            self.ran_s += 600
            if wall_too:
                self.wall += timedelta(minutes=10)
            standing = self.store.tend(self.wall)
        return standing

    def switch_off_and_on(self, away: timedelta) -> None:
        """The wall clock goes on by `away` (its battery's doing); running time begins anew."""
        self.store.close()
        self.wall += away
        self.ran_s = 5.0
        self.store = self._open()

    def compares(self) -> bool:
        return isinstance(self.store.reference(ADA, self.wall), StoredReference)

    def holds_a_reference(self) -> bool:
        return self.store.reference_revision(ADA) > 0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A reference and a lease of a week, just signed."""
    made = Machine(tmp_path)
    made.store.put_pupils([(PupilRecord(ADA, "Ada", "", "6e A", ()), PersonalCode("0013"))], whole=True)
    made.store.put_reference(ADA, 1, CONSENT, b"hand")
    made.store.note_signed_time(NOW, NOW)
    made.store.renew_lease(NOW + WEEK)
    yield made
    made.store.close()


def test_without_any_contact_the_keys_are_destroyed_at_the_leases_end(machine: Machine) -> None:
    """Seven days of running: compared until the last minute, then neither compared nor held, in a new epoch."""
    assert machine.run(7 * 24 - 1) is LeaseStanding.HOLDS
    assert machine.compares()
    epoch = machine.store.epoch
    assert machine.run(1.5) is LeaseStanding.DESTROYED
    assert not machine.holds_a_reference()
    assert LeaseEnd.RUNNING_TIME is machine.store.lease.destroyed_because
    assert epoch + 1 == machine.store.epoch
    assert PersonalCode("0013") == machine.store.code_of(ADA)


def test_what_the_station_seals_again_is_taken_after_the_leases_end(machine: Machine) -> None:
    """Nobody asked to be forgotten: the same revision may come again with a fresh lease."""
    machine.run(7 * 24 + 1)
    machine.store.note_signed_time(machine.wall, machine.wall)
    machine.store.renew_lease(machine.wall + WEEK)
    assert machine.store.put_reference(ADA, 1, CONSENT, b"hand")
    assert machine.compares()


def test_a_clock_that_stands_still_does_not_lengthen_it(machine: Machine) -> None:
    """Running time counts."""
    machine.run(7 * 24 - 1, wall_too=False)
    assert machine.compares()
    assert machine.run(2, wall_too=False) is LeaseStanding.DESTROYED


def test_a_clock_set_back_does_not_lengthen_it(machine: Machine) -> None:
    """A month back on the third day: the end comes on the seventh all the same."""
    machine.run(3 * 24)
    machine.wall -= timedelta(days=30)
    machine.run(4 * 24 - 1)
    assert machine.compares()
    assert machine.run(2) is LeaseStanding.DESTROYED


def test_a_clock_set_back_at_every_start_does_not_lengthen_it(machine: Machine) -> None:
    """Switched off every hour and started in the past: the hours that it ran add up."""
    for _ in range(7 * 24 + 1):
        machine.run(1)
        machine.switch_off_and_on(-timedelta(hours=1))
    assert not machine.holds_a_reference()


def test_once_suspended_a_clock_set_back_helps_nobody(machine: Machine) -> None:
    """Switched off for eight days, seen to be over; then set back into the lease, and started again."""
    machine.switch_off_and_on(8 * DAY)
    assert machine.run(0.1) is LeaseStanding.SUSPENDED
    assert not machine.compares()
    machine.wall -= 6 * DAY
    assert not machine.compares()
    machine.switch_off_and_on(-timedelta(hours=1))
    assert not machine.compares()


def test_ahead_by_mistake_suspends_and_does_not_wipe(machine: Machine) -> None:
    """A year ahead: comparison stops at once, nothing is destroyed; a signed word at the right time sets it right."""
    machine.run(24)
    machine.wall += timedelta(days=365)
    assert not machine.compares()
    machine.store.note_instant(machine.wall)
    assert machine.run(2) is LeaseStanding.SUSPENDED
    assert machine.holds_a_reference()
    machine.wall -= timedelta(days=365)
    assert not machine.compares()  # set right by hand: that could be anybody's hand
    machine.store.note_signed_time(machine.wall, machine.wall)
    assert machine.compares()
    assert machine.store.high_water_mark == machine.wall
    assert machine.run(1) is LeaseStanding.HOLDS


def test_ahead_by_mistake_and_nobody_says_otherwise(machine: Machine) -> None:
    """After two days of running without a signed word to the contrary the references go: the lease's grace is over."""
    machine.wall += timedelta(days=365)
    assert machine.run(GRACE.total_seconds() / HOUR_S - 1) is LeaseStanding.SUSPENDED
    assert machine.holds_a_reference()
    assert machine.run(2) is LeaseStanding.DESTROYED
    assert LeaseEnd.GRACE is machine.store.lease.destroyed_because


def test_a_signed_time_after_the_end_confirms_it(machine: Machine) -> None:
    """Off for a month; the first signed word says that it was a month: destroyed once no order waits any more."""
    machine.switch_off_and_on(30 * DAY)
    machine.store.note_signed_time(machine.wall, machine.wall)
    assert machine.holds_a_reference()
    assert machine.store.tend(machine.wall) is LeaseStanding.DESTROYED
    assert not machine.holds_a_reference()
    assert LeaseEnd.SIGNED_TIME is machine.store.lease.destroyed_because


@pytest.mark.parametrize("year", [1970, 2038, 2106])
def test_the_ends_of_other_clocks(machine: Machine, year: int) -> None:
    """1970 (no battery): the lease goes on by running time. 2038 and later: suspended, not wiped."""
    machine.wall = datetime(year, 1, 19, 3, 14, 7, tzinfo=UTC)
    assert machine.compares() == (year == 1970)
    machine.run(1)
    assert machine.holds_a_reference()
    machine.switch_off_and_on(timedelta(0))
    assert machine.holds_a_reference()
    assert machine.compares() == (year == 1970)


def test_a_late_or_repeated_order_changes_nothing(machine: Machine) -> None:
    """Neither shortens the lease, nor lifts a suspension, nor turns time back."""
    machine.store.renew_lease(NOW + DAY)
    assert NOW + WEEK == machine.store.lease_until
    machine.wall += 8 * DAY
    machine.run(0.2)
    machine.store.renew_lease(NOW + WEEK)
    machine.store.note_signed_time(NOW - DAY, machine.wall)
    machine.wall = NOW
    assert not machine.compares()
    assert NOW == machine.store.lease.signed_time


def test_an_order_held_back_for_a_month_gives_no_time(machine: Machine) -> None:
    """A lease signed a week ago and withheld is over when it comes: the machine has run on meanwhile."""
    machine.run(9 * 24)
    machine.store.note_signed_time(NOW + DAY, machine.wall)
    machine.store.renew_lease(NOW + DAY + WEEK)
    machine.wall = NOW + DAY
    assert not machine.compares()
    assert machine.run(0.2) is LeaseStanding.DESTROYED


def test_a_fresh_lease_in_the_same_breath_goes_on(machine: Machine) -> None:
    """Switched off over the holidays; the first orders hold the time and a lease: suspended until then, not wiped."""
    machine.switch_off_and_on(16 * DAY)
    assert machine.run(0.2) is LeaseStanding.SUSPENDED
    machine.store.note_signed_time(machine.wall, machine.wall)
    machine.store.renew_lease(machine.wall + WEEK)
    assert machine.store.tend(machine.wall) is LeaseStanding.HOLDS
    assert machine.compares()


def test_a_power_cut_before_the_destruction_is_made_good(machine: Machine) -> None:
    """Over and not yet destroyed: the next start compares nothing, and destroys."""
    machine.run(7 * 24 - 1)
    machine.store._leases._keep(machine.store.lease.tended(machine.wall, 2 * HOUR_S), 0.0)
    assert machine.holds_a_reference()
    machine.switch_off_and_on(timedelta(0))
    assert not machine.compares()
    machine.store.tend(machine.wall)
    assert not machine.holds_a_reference()


def test_no_lease_at_all(tmp_path: Path) -> None:
    """A store that never heard of one compares nothing and destroys nothing."""
    machine = Machine(tmp_path)
    machine.store.put_pupils([(PupilRecord(ADA, "Ada", "", "6e A", ()), PersonalCode("0013"))], whole=True)
    machine.store.put_reference(ADA, 1, CONSENT, b"hand")
    assert machine.run(24 * 30) is LeaseStanding.NONE
    assert machine.store.reference(ADA, machine.wall) is ReferenceAbsence.LEASE_EXPIRED
    assert machine.holds_a_reference()
    machine.store.close()


_steps = st.lists(
    st.tuples(
        st.floats(0, 3 * DAY_S),
        st.timedeltas(timedelta(days=-4000), timedelta(days=4000)),
        st.booleans(),
    ),
    max_size=30,
)


@given(steps=_steps)
def test_nothing_done_to_the_wall_clock_lengthens_a_lease(
    steps: list[tuple[float, timedelta, bool]],
) -> None:
    """Whatever the wall says, once the machine has run for the lease's length nothing is compared any more."""
    lease = Lease().signed(NOW, NOW).renewed(NOW + WEEK)
    ran_s = 0.0
    for step_s, wall_off, noted in steps:
        ran_s += step_s
        wall = NOW + wall_off
        assert lease.holds(wall, step_s) <= (ran_s < WEEK.total_seconds())
        lease = lease.tended(wall, step_s)
        if noted:
            lease = lease.noted(wall)
        assert lease.holds(wall) <= (ran_s < WEEK.total_seconds())
        assert lease.holds(wall) == (wall < NOW + WEEK and lease.lasts_s > 0)
    if ran_s >= WEEK.total_seconds():
        assert lease.end is LeaseEnd.RUNNING_TIME


@given(jump=st.timedeltas(timedelta(0), timedelta(days=30000)), ran_s=st.floats(0, GRACE.total_seconds() - 1))
def test_no_jump_ahead_destroys_before_the_grace_is_over(jump: timedelta, ran_s: float) -> None:
    """One mistake at the clock never wipes a school at a stroke."""
    lease = Lease().signed(NOW, NOW).renewed(NOW + WEEK).tended(NOW + jump, 0.0).tended(NOW + jump, ran_s)
    assert lease.end is None


def test_a_lease_renewed_daily_holds_where_nobody_tends(tmp_path: Path) -> None:
    """A station runs for a month without a restart, its references are the originals: each fresh word counts anew."""
    running = [0.0]
    store = EncryptedStore(tmp_path / "s.db", FileKeySource(tmp_path / "s.key"), lambda: running[0])
    pupil = PupilId("p-00000000000000aa")
    store.put_pupils([(PupilRecord(pupil, "A", "B", "C", ()), PersonalCode("0013"))], whole=True)
    for day in range(30):
        now = NOW + timedelta(days=day)
        running[0] = day * 86400.0
        store.note_signed_time(now, now)
        store.renew_lease(now + timedelta(days=7))
        store.note_instant(now)
    store.put_reference(pupil, 1, CONSENT, b"reference")
    assert isinstance(store.reference(pupil, now), StoredReference)
    running[0] += 7 * 86400.0
    assert ReferenceAbsence.LEASE_EXPIRED is store.reference(pupil, now)
    store.close()
