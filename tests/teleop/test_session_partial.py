"""A person takes the hand, or the arm, and the other part goes on as it was."""

import numpy as np
import pytest

from dexhil.teleop import se3
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.takeover import Event, Mode

ARM, HAND = slice(0, 6), slice(6, 22)
PARTS = {"takeover_arm": ("arm", ARM, HAND), "takeover_hand": ("hand", HAND, ARM)}


class Drifting:
    """A policy that moves every joint evenly, until it is gone."""

    execute_steps = 8

    def __init__(self, home):
        self.home, self.resets, self.gone = home, 0, False

    def reset(self):
        self.resets += 1

    def infer(self, observation):
        del observation
        if self.gone:
            raise DoubtError("policy: it is gone.")
        times_s = self.clock.now_s() - 1000.0 + 0.05 * np.arange(1, 9)
        return self.home + 0.1 * times_s[:, None]


@pytest.fixture
def drifting(make_bench):
    """Return a function that makes a bench with a drifting policy at work."""

    def start(button="start", **options):
        bench = make_bench(policy=Drifting, **options)
        bench.policy.clock = bench.clock
        bench.press(button)
        bench.run(0.613)
        return bench

    return start


def executed_during(bench, duration_s):
    """Run, and return the commands of the robot at each tick of the hand. Shape (t, 22)."""
    rows = [bench.session.executed]
    bench.operator.tick = _noting(bench, rows)
    bench.run(duration_s)
    return np.array(rows)


def _noting(bench, rows):
    def tick():
        bench.operate()
        rows.append(bench.session.executed)

    return tick


@pytest.mark.parametrize("button", PARTS)
def test_the_policy_goes_on_with_the_part_that_is_not_taken(drifting, button):
    name, mine, others = PARTS[button]
    bench, undisturbed = drifting(), drifting()
    resets, epoch = bench.policy.resets, bench.session.drive.epoch
    bench.press(button)
    ours, theirs = (executed_during(each, 0.5) for each in (bench, undisturbed))
    drive = bench.session.drive
    assert (drive.mode, drive.parts, drive.epoch) == (Mode.HUMAN, {name}, epoch)
    assert bench.policy.resets == resets
    np.testing.assert_array_equal(ours[:, others], theirs[:, others])
    assert np.abs(ours[-1, mine] - theirs[-1, mine]).max() > 0.02


@pytest.mark.parametrize("shadow", [True, False])
def test_the_policy_is_asked_for_the_arm_whether_or_not_it_shadows(drifting, shadow):
    bench = drifting(shadow=shadow)
    bench.press("takeover_hand")
    bench.run(1.0)
    assert bench.session.mode is Mode.HUMAN
    assert bench.session.drive.drivers.arm is Mode.POLICY


@pytest.mark.parametrize("button", PARTS)
def test_from_hold_the_other_part_stays_held(make_bench, button):
    _, mine, others = PARTS[button]
    bench = make_bench()
    bench.press(button)
    rows = executed_during(bench, 0.8)
    assert np.ptp(rows[:, others], axis=0).max() == 0.0
    assert np.ptp(rows[:, mine], axis=0).max() > 0.05


def test_the_arm_taken_later_is_anchored_alone_and_nothing_jumps(drifting):
    bench, hand_only = drifting(), drifting()
    for each in (bench, hand_only):
        each.press("takeover_hand")
        each.run(0.5)
    before = bench.session.executed
    bench.press("takeover")
    rows = executed_during(bench, 0.3)
    assert bench.session.drive.parts == {"arm", "hand"}
    # The hand goes on as if nothing had happened.
    np.testing.assert_array_equal(rows[:, HAND], executed_during(hand_only, 0.3)[:, HAND])
    arm = [q for t, q in bench.arm.sent if t > bench.session.drive.since_s - 1e-9]
    metres, radians = se3.distance(bench.ik.fk(arm[0]), bench.ik.fk(before[ARM]))
    assert metres < 5e-4
    assert radians < np.deg2rad(0.2)


def test_the_clutch_of_the_hand_leaves_the_arm_alone(drifting):
    bench = drifting("takeover")
    arm, hand = bench.session.drive.stretches
    bench.press("takeover_hand")
    bench.run(0.012)
    assert bench.session.drive.stretches == (arm, hand + 1)
    assert bench.session.drive.parts == {"arm", "hand"}


@pytest.mark.parametrize(
    ("button", "device", "needed"),
    [
        ("takeover_hand", "glove", True),
        ("takeover_hand", "tracker", False),
        ("takeover_arm", "tracker", True),
        ("takeover_arm", "glove", False),
    ],
)
def test_only_what_the_taken_part_needs_is_doubted(drifting, button, device, needed):
    bench = drifting()
    bench.press(button)
    bench.run(0.2)
    getattr(bench, device).faults.unplug()
    bench.run(0.1)
    assert bench.session.mode is (Mode.HOLD if needed else Mode.HUMAN)
    if needed:
        held = bench.session.executed
        bench.run(0.2)
        np.testing.assert_array_equal(bench.session.executed, held)


@pytest.mark.parametrize(
    ("button", "device", "refused"),
    [
        ("takeover_hand", "glove", True),
        ("takeover_hand", "tracker", False),
        ("takeover_arm", "tracker", True),
        ("takeover_arm", "glove", False),
    ],
)
def test_only_what_the_taken_part_needs_can_refuse_it(drifting, button, device, refused):
    bench = drifting()
    getattr(bench, device).faults.unplug()
    bench.run(0.1)
    bench.press(button)
    bench.run(0.1)
    assert (bench.session.mode is Mode.POLICY) == refused
    assert (bench.session.refused is not None) == refused


def test_adding_a_part_that_cannot_be_seen_is_refused_and_the_other_stays_taken(drifting):
    bench = drifting()
    bench.press("takeover_hand")
    bench.run(0.2)
    bench.tracker.faults.unplug()
    bench.run(0.1)
    bench.press("takeover")
    bench.run(0.1)
    assert bench.session.drive.parts == {"hand"}
    assert "unplugged" in bench.session.refused


def test_a_policy_that_is_gone_holds_both_parts_though_a_person_has_one(drifting):
    bench = drifting()
    bench.press("takeover_hand")
    bench.run(0.3)
    bench.policy.gone = True
    bench.run(0.7)
    assert bench.session.mode is Mode.HOLD
    assert bench.session.drive.reason == "policy: it is gone."


def test_hand_back_of_one_part_asks_the_policy_anew_and_jumps_nowhere(drifting):
    bench = drifting(hand_first_action_rad=9.0)
    bench.press("takeover_hand")
    bench.run(0.5)
    resets = bench.policy.resets
    bench.press("start")
    rows = executed_during(bench, 0.4)
    assert bench.session.drive.drivers == (Mode.POLICY, Mode.POLICY)
    assert bench.policy.resets == resets + 1
    np.testing.assert_allclose(rows[1, HAND], rows[0, HAND], atol=1e-12)
    assert np.abs(np.diff(rows[:, HAND], axis=0)).max() < 0.1


def test_letting_go_of_the_hand_holds_the_arm_too(drifting):
    bench = drifting()
    bench.press("takeover_hand")
    bench.run(0.3)
    bench.press("release")
    bench.run(0.03)
    held = bench.session.executed
    bench.run(0.3)
    np.testing.assert_array_equal(bench.session.executed, held)


@pytest.mark.parametrize("name", ["arm", "hand"])
def test_neither_part_waits_for_the_other_to_have_seen_a_press(drifting, name):
    bench = drifting()
    (loop,) = (loop for loop in bench.session.loops() if loop.name == name)
    bench.press("takeover")
    loop.tick()
    assert bench.session.obeyed[name == "hand"].mode is Mode.HUMAN
    assert bench.session.obeyed[name != "hand"].mode is Mode.POLICY


def test_frames_tell_the_parts_apart(drifting):
    bench = drifting()
    bench.press("takeover_hand")
    bench.run(0.6)
    frame = bench.frames[-1]
    assert (frame.mode, frame.intervention) == (Mode.HUMAN, True)
    assert (frame.authority_arm, frame.authority_hand, frame.authority) == (0.0, 1.0, 0.0)
    np.testing.assert_array_equal(frame.human[ARM], frame.executed[ARM])
    assert frame.proposal is not None


def test_the_same_presses_give_the_same_frames(drifting):
    runs = []
    for _ in range(2):
        bench = drifting()
        for button in ("takeover_hand", "takeover", "start", "takeover_arm"):
            bench.press(button)
            bench.run(0.37)
        runs.append([(f.stamp_s, f.authority_hand, f.executed.tobytes()) for f in bench.frames])
    assert runs[0] == runs[1]


def test_events_take_parts_as_buttons_do(drifting):
    bench = drifting()
    bench.session.set_event(Event.TAKE_ARM)
    assert bench.session.drive.parts == {"arm"}
