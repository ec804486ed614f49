"""The MANUS driver against its emulator: skeletons and angles, two gloves on one link."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.errors import ConfigError, ConnectError, StaleError
from dexhil.drivers.glove import Glove
from dexhil.drivers.testing import Emulated, GloveConformance

GLOVES = {"left": "60f3738b", "right": "bccdf6ef"}

EMULATOR = "manus"
Make = Callable[..., Glove]


class TestManus(Emulated, GloveConformance):
    emulator = EMULATOR


class TestLeftManus(Emulated, GloveConformance):
    emulator = EMULATOR
    options: ClassVar[dict[str, Any]] = {"side": "left", "glove": GLOVES["left"].upper()}


class TestManusErgonomics(Emulated, GloveConformance):
    emulator = EMULATOR
    options: ClassVar[dict[str, Any]] = {"data": "ergonomics"}

    @pytest.fixture(autouse=True)
    def _sends_ergonomics(
        self,
        device: Glove,  # noqa: ARG002  # Whose making resets the emulator.
        process: EmulatorProcess,
    ) -> None:
        process.tell("send", "ergonomics")


def side_of(glove: Glove) -> str:
    keypoints = glove.observe().keypoints
    palmar = np.cross(keypoints[5] - keypoints[0], keypoints[17] - keypoints[0])
    curl = (keypoints[[8, 12, 16, 20]] - keypoints[[5, 9, 13, 17]]) @ palmar
    return "right" if curl.mean() > 0 else "left"


def test_two_gloves_share_one_link(make: Make) -> None:
    left = make(side="left", glove=GLOVES["left"])
    right = make(side="right", glove=GLOVES["right"])
    with left, right:
        stamps = {glove: {glove.observe().stamp_s} for glove in (left, right)}
        for _ in range(100):
            left.clock.sleep(0.01)
            for glove, seen in stamps.items():
                seen.add(glove.observe().stamp_s)
        assert (side_of(left), side_of(right)) == ("left", "right")
        # Were the messages dealt out in turn, each would get half of 90 a second.
        assert min(map(len, stamps.values())) > 55
        left.disconnect()
        right.clock.sleep(0.3)
        right.observe(max_age_s=0.3)


def test_one_glove_alone_needs_no_id(make: Make, emulator: EmulatorProcess) -> None:
    glove = make(glove="")
    emulator.tell("send", "single")
    with glove:
        assert side_of(glove) == "right"


def test_nodes_in_the_order_of_the_integrated_sdk(make: Make, emulator: EmulatorProcess) -> None:
    glove = make(nodes="integrated")
    emulator.tell("send", "integrated")
    with glove:
        GloveConformance().test_bones_are_as_long_as_bones(glove)
        assert side_of(glove) == "right"


def test_left_handed_axes_are_mirrored(make: Make) -> None:
    with make(left_handed=True) as glove:
        assert side_of(glove) == "left"  # The emulator's are right-handed already.
        assert np.linalg.norm(glove.observe().wrist_orientation) == pytest.approx(1.0)


def test_an_absent_glove_is_named(make: Make) -> None:
    with pytest.raises(ConnectError, match="no sign of the glove 'abcdef01' on ZeroMQ tcp://"):
        make(glove="abcdef01").connect(timeout_s=0.5)


def test_the_wrong_kind_of_data_is_named(make: Make) -> None:
    with pytest.raises(ConnectError, match="nothing but what is not MANUS ergonomics"):
        make(data="ergonomics").connect(timeout_s=0.5)


def test_a_glove_that_repeats_itself_goes_stale_and_says_so(
    make: Make, emulator: EmulatorProcess
) -> None:
    with make() as glove:
        emulator.faults.repeat()
        glove.clock.sleep(0.6)
        with pytest.raises(StaleError):
            glove.observe(max_age_s=0.3)
        assert "repeats itself bit by bit" in glove.health().reasons[0]
        emulator.faults.clear()
        glove.clock.sleep(0.3)
        glove.observe(max_age_s=0.3)
        assert glove.health().ok


def test_fingers_that_leap_are_seen_elsewhere_and_the_wrist_is_not(
    make: Make, emulator: EmulatorProcess
) -> None:
    with make() as glove:

        def reach() -> float:
            points = glove.observe().keypoints
            return float(np.linalg.norm(points[1:] - points[0], axis=1).max())

        assert reach() < 0.25
        emulator.tell("leap", 0.5)
        glove.clock.sleep(0.3)
        assert reach() > 0.45
        emulator.tell("leap", 0)
        glove.clock.sleep(0.3)
        assert reach() < 0.25


def test_damaged_messages_never_fault(make: Make, emulator: EmulatorProcess) -> None:
    glove = make()
    faults = RemoteFaults(emulator)
    with glove:
        faults.corrupt(0.5)
        faults.partial(0.3)
        for _ in range(50):
            glove.clock.sleep(0.02)
            glove.observe()


def test_an_order_that_does_not_exist_is_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="nodes"):
        make(nodes="alphabetical")
