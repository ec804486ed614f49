from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.teleop.takeover import Event, Mode, anchors_again, next_mode

ALL = list(product(Mode, Event))
histories = st.lists(st.sampled_from(Event))


def run(events, mode=Mode.HOLD):
    for event in events:
        mode = next_mode(mode, event)
    return mode


@pytest.mark.parametrize("mode", Mode)
def test_taking_over_is_one_action_from_anywhere(mode):
    assert next_mode(mode, Event.TAKE_OVER) is Mode.HUMAN


@pytest.mark.parametrize("mode", Mode)
def test_handing_over_to_the_policy_is_one_action_from_anywhere(mode):
    assert next_mode(mode, Event.START) is Mode.POLICY


@pytest.mark.parametrize("event", [Event.STOP, Event.DOUBT])
@pytest.mark.parametrize("mode", Mode)
def test_stop_and_doubt_hold_from_anywhere(mode, event):
    assert next_mode(mode, event) is Mode.HOLD


def test_only_a_deliberate_act_leaves_hold():
    leaving = {event for mode, event in ALL if mode is Mode.HOLD and next_mode(mode, event) != mode}
    assert leaving == {Event.START, Event.TAKE_OVER}


def test_the_person_drives_only_after_taking_over():
    entries = {event for mode, event in ALL if next_mode(mode, event) is Mode.HUMAN != mode}
    assert entries == {Event.TAKE_OVER}


def test_the_policy_drives_only_after_a_start():
    entries = {event for mode, event in ALL if next_mode(mode, event) is Mode.POLICY != mode}
    assert entries == {Event.START}


def test_letting_go_holds_and_does_not_start_the_policy():
    assert next_mode(Mode.HUMAN, Event.RELEASE) is Mode.HOLD
    assert next_mode(Mode.POLICY, Event.RELEASE) is Mode.POLICY


@given(histories)
def test_takeover_works_after_any_history(history):
    assert run([Event.TAKE_OVER], run(history)) is Mode.HUMAN


@given(histories, st.lists(st.sampled_from([Event.RELEASE, Event.STOP, Event.DOUBT])))
def test_doubt_lasts_until_somebody_asks_again(history, others):
    assert run([Event.DOUBT, *others], run(history)) is Mode.HOLD


@pytest.mark.parametrize(("mode", "event"), ALL)
def test_a_new_drive_begins_with_another_driver_or_another_clutch(mode, event):
    clutch = (mode, event) == (Mode.HUMAN, Event.TAKE_OVER)
    assert anchors_again(mode, event) == (clutch or next_mode(mode, event) is not mode)
