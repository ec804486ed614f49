"""The glove as a source of joint targets: anchored, relative, smoothed where wanted."""

import numpy as np
import pytest

from dexhil.drivers.glove import GloveObservation
from dexhil.retarget.filters import FILTERS, JointFilter
from dexhil.teleop.human import HumanHand
from dexhil.teleop.mapping import HandMapping

N = 16
LIMITS = np.tile([0.0, 1.5], (N, 1))
PERIOD_S = 1 / 90
EXECUTED = np.linspace(0.2, 1.2, N)


class Glove:
    """A watch on a glove whose keypoints are the joints."""

    def __init__(self):
        self.move(np.full(N, 0.7), 0.0)

    def look(self, now_s):
        del now_s

    def move(self, joints, stamp_s):
        keypoints = np.zeros((21, 3))
        keypoints.ravel()[:N] = joints
        self.trusted = GloveObservation(
            stamp_s=stamp_s, device_stamp_s=stamp_s, keypoints=keypoints
        )


class Reader:
    """Reads the joints off the keypoints."""

    def retarget(self, keypoints):
        return keypoints.ravel()[:N].copy()

    def reset(self, joint_positions):
        pass


def make(filter_name):
    glove = Glove()
    smoother = None if filter_name == "off" else JointFilter(FILTERS[filter_name])
    human = HumanHand(glove, HandMapping(LIMITS, 0.5), Reader(), PERIOD_S, smoother)
    human.anchor(EXECUTED)
    return human, glove


@pytest.mark.parametrize("filter_name", FILTERS)
def test_a_still_hand_holds_what_was_executed_whatever_the_filter(filter_name):
    human, glove = make(filter_name)
    for tick in range(90):
        glove.move(np.full(N, 0.7), tick * PERIOD_S)
        np.testing.assert_allclose(human.target(1.0, EXECUTED), EXECUTED, atol=1e-12)


def swing(filter_name, ticks=200):
    human, glove = make(filter_name)
    asked = []
    for tick in range(ticks):
        if tick % 3 == 0:  # A glove at 30 Hz under a loop at 90 Hz.
            glove.move(0.7 + 0.6 * np.sin(0.1 * tick) * np.ones(N), tick * PERIOD_S)
        asked.append(human.target(1.0, EXECUTED))
    return np.array(asked)


def test_a_filter_takes_the_steps_out_of_a_slow_glove():
    rough, smooth = (np.abs(np.diff(swing(name), axis=0)).max() for name in ("off", "smooth"))
    assert smooth < 0.6 * rough


@pytest.mark.parametrize("filter_name", ["fast", "balanced", "smooth"])
def test_smoothed_targets_stay_within_the_limits_and_the_rate(filter_name):
    asked = swing(filter_name)
    assert asked.min() >= 0.0
    assert asked.max() <= 1.5
    most = FILTERS[filter_name].max_rate * PERIOD_S
    assert np.abs(np.diff(asked, axis=0, prepend=EXECUTED[None])).max() <= most + 1e-12


def test_anchoring_again_forgets_what_was_smoothed():
    human, glove = make("smooth")
    glove.move(np.full(N, 1.4), 1.0)
    for _ in range(3):
        human.target(1.0, EXECUTED)
    elsewhere = EXECUTED[::-1].copy()
    human.anchor(elsewhere)
    np.testing.assert_allclose(human.target(1.0, elsewhere), elsewhere, atol=1e-12)
