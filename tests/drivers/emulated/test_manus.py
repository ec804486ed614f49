"""The MANUS driver against its emulator: skeletons and angles, two gloves on one link."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest

from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.errors import ConfigError, ConnectError, StaleError
from dexhil.drivers.glove import Glove
from dexhil.drivers.registry import RigEntry
from dexhil.drivers.testing import Emulated, GloveConformance

GLOVES = {"left": "60f3738b", "right": "bccdf6ef"}


class TestManus(Emulated, GloveConformance):
    emulator = "manus"


class TestLeftManus(Emulated, GloveConformance):
    emulator = "manus"
    options: ClassVar[dict[str, Any]] = {"side": "left", "glove": GLOVES["left"].upper()}


class TestManusErgonomics(Emulated, GloveConformance):
    emulator = "manus"
    options: ClassVar[dict[str, Any]] = {"data": "ergonomics"}

    @pytest.fixture(autouse=True)
    def _sends_ergonomics(
        self,
        device: Glove,  # noqa: ARG002  # Whose making resets the emulator.
        process: EmulatorProcess,
    ) -> None:
        process.tell("send", "ergonomics")


@pytest.fixture(scope="module")
def process() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("manus") as process:
        yield process


def build(process: EmulatorProcess, **options: object) -> Glove:
    process.tell("reset")
    entry = RigEntry("glove", "manus", "manus", {**process.options, **options})
    device = entry.build()
    assert isinstance(device, Glove)
    return device


def side_of(glove: Glove) -> str:
    keypoints = glove.observe().keypoints
    palmar = np.cross(keypoints[5] - keypoints[0], keypoints[17] - keypoints[0])
    curl = (keypoints[[8, 12, 16, 20]] - keypoints[[5, 9, 13, 17]]) @ palmar
    return "right" if curl.mean() > 0 else "left"


def test_two_gloves_share_one_link(process: EmulatorProcess) -> None:
    left = build(process, side="left", glove=GLOVES["left"])
    right = build(process, side="right", glove=GLOVES["right"])
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


def test_one_glove_alone_needs_no_id(process: EmulatorProcess) -> None:
    glove = build(process, glove="")
    process.tell("send", "single")
    with glove:
        assert side_of(glove) == "right"


def test_nodes_in_the_order_of_the_integrated_sdk(process: EmulatorProcess) -> None:
    glove = build(process, nodes="integrated")
    process.tell("send", "integrated")
    with glove:
        GloveConformance().test_bones_are_as_long_as_bones(glove)
        assert side_of(glove) == "right"


def test_left_handed_axes_are_mirrored(process: EmulatorProcess) -> None:
    with build(process, left_handed=True) as glove:
        assert side_of(glove) == "left"  # The emulator's are right-handed already.
        assert np.linalg.norm(glove.observe().wrist_orientation) == pytest.approx(1.0)


def test_an_absent_glove_is_named(process: EmulatorProcess) -> None:
    with pytest.raises(ConnectError, match="no sign of the glove 'abcdef01' on ZeroMQ tcp://"):
        build(process, glove="abcdef01").connect(timeout_s=0.5)


def test_the_wrong_kind_of_data_is_named(process: EmulatorProcess) -> None:
    with pytest.raises(ConnectError, match="nothing but what is not MANUS ergonomics"):
        build(process, data="ergonomics").connect(timeout_s=0.5)


def test_a_glove_that_repeats_itself_goes_stale_and_says_so(process: EmulatorProcess) -> None:
    with build(process) as glove:
        process.faults.repeat()
        glove.clock.sleep(0.6)
        with pytest.raises(StaleError):
            glove.observe(max_age_s=0.3)
        assert "repeats itself bit by bit" in glove.health().reasons[0]
        process.faults.clear()
        glove.clock.sleep(0.3)
        glove.observe(max_age_s=0.3)
        assert glove.health().ok


def test_damaged_messages_never_fault(process: EmulatorProcess) -> None:
    glove = build(process)
    faults = RemoteFaults(process)
    with glove:
        faults.corrupt(0.5)
        faults.partial(0.3)
        for _ in range(50):
            glove.clock.sleep(0.02)
            glove.observe()


def test_an_order_that_does_not_exist_is_refused(process: EmulatorProcess) -> None:
    with pytest.raises(ConfigError, match="nodes"):
        build(process, nodes="alphabetical")
