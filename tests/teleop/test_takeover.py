from itertools import product

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dexhil.teleop.takeover import (
    NOBODY,
    PARTS,
    TAKEN,
    Drivers,
    Event,
    Mode,
    anchored,
    next_drivers,
    policy_goes_on,
)

HOLD, POLICY, HUMAN = Mode.HOLD, Mode.POLICY, Mode.HUMAN
WHOLE = [NOBODY, Drivers(POLICY, POLICY), Drivers(HUMAN, HUMAN)]
PARTIAL = [
    Drivers(HUMAN, POLICY),
    Drivers(POLICY, HUMAN),
    Drivers(HUMAN, HOLD),
    Drivers(HOLD, HUMAN),
]
REACHABLE = WHOLE + PARTIAL
ALL = list(product(REACHABLE, Event))
DELIBERATE = {Event.START, *TAKEN}


@pytest.mark.parametrize("drivers", REACHABLE)
def test_taking_over_is_one_action_from_anywhere(drivers):
    assert next_drivers(drivers, Event.TAKE_OVER) == Drivers(HUMAN, HUMAN)


@pytest.mark.parametrize("drivers", REACHABLE)
def test_handing_over_to_the_policy_is_one_action_from_anywhere(drivers):
    assert next_drivers(drivers, Event.START) == Drivers(POLICY, POLICY)


@pytest.mark.parametrize("event", [Event.STOP, Event.DOUBT])
@pytest.mark.parametrize("drivers", REACHABLE)
def test_stop_and_doubt_hold_both_parts_from_anywhere(drivers, event):
    assert next_drivers(drivers, event) == NOBODY


@pytest.mark.parametrize("drivers", WHOLE)
def test_the_hand_alone_is_taken_and_the_arm_goes_on_as_it_was(drivers):
    assert next_drivers(drivers, Event.TAKE_HAND) == Drivers(drivers.arm, HUMAN)
    assert next_drivers(drivers, Event.TAKE_ARM) == Drivers(HUMAN, drivers.hand)


@pytest.mark.parametrize("drivers", [*PARTIAL, Drivers(HUMAN, HUMAN)])
def test_letting_go_holds_both_parts_whoever_drove_the_other(drivers):
    assert next_drivers(drivers, Event.RELEASE) == NOBODY


@pytest.mark.parametrize("drivers", [NOBODY, Drivers(POLICY, POLICY)])
def test_who_holds_nothing_lets_go_of_nothing(drivers):
    assert next_drivers(drivers, Event.RELEASE) == drivers


@pytest.mark.parametrize("drivers", PARTIAL)
def test_a_part_taken_later_is_anchored_alone(drivers):
    (held,) = drivers.of(HUMAN)
    assert anchored(drivers, Event.TAKE_OVER) == PARTS - {held}


@pytest.mark.parametrize("event", TAKEN)
def test_taking_what_is_held_is_the_clutch(event):
    assert anchored(Drivers(HUMAN, HUMAN), event) == TAKEN[event]


def test_the_plan_of_a_policy_survives_only_while_it_drives_a_part():
    kept = {(d, e) for d, e in ALL if e in DELIBERATE and policy_goes_on(d, e)}
    driving, both = [Drivers(POLICY, HUMAN), Drivers(HUMAN, POLICY)], Drivers(POLICY, POLICY)
    assert kept == {
        (both, Event.START),  # It drives on: nothing happened.
        (both, Event.TAKE_HAND),
        (both, Event.TAKE_ARM),
        (driving[0], Event.TAKE_HAND),
        (driving[1], Event.TAKE_ARM),
    }


class Takeover(RuleBasedStateMachine):
    """Anything may happen in any order; who moves what is checked after each event."""

    @initialize()
    def begin(self):
        self.before = self.drivers = NOBODY
        self.event = Event.STOP

    @rule(event=st.sampled_from(Event))
    def happens(self, event):
        self.before, self.event = self.drivers, event
        self.drivers = next_drivers(self.drivers, event)

    @invariant()
    def only_known_pairs_drive(self):
        assert self.drivers in REACHABLE

    @invariant()
    def doubt_and_stop_hold_everything(self):
        if self.event in {Event.STOP, Event.DOUBT}:
            assert self.drivers == NOBODY

    @invariant()
    def only_a_deliberate_act_moves_a_part_that_was_held(self):
        for was, now in zip(self.before, self.drivers, strict=True):
            if was is HOLD and now is not HOLD:
                assert self.event in DELIBERATE

    @invariant()
    def a_person_drives_only_what_they_took(self):
        new = self.drivers.of(HUMAN) - self.before.of(HUMAN)
        assert new <= TAKEN.get(self.event, frozenset())

    @invariant()
    def a_policy_drives_only_after_a_start(self):
        if self.drivers.of(POLICY) - self.before.of(POLICY):
            assert self.event is Event.START

    @invariant()
    def every_part_with_a_new_driver_is_anchored_again(self):
        changed = {p for p in PARTS if getattr(self.before, p) is not getattr(self.drivers, p)}
        assert changed <= anchored(self.before, self.event)

    @invariant()
    def a_part_that_a_person_keeps_is_not_anchored_when_they_take_another(self):
        kept = self.before.of(HUMAN) & self.drivers.of(HUMAN)
        if self.drivers != self.before:
            assert not kept & anchored(self.before, self.event)


TestTakeover = Takeover.TestCase
