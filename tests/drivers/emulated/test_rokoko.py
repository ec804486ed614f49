"""The Rokoko driver against its emulator: both gloves on one port, clocks that step back."""

import socket
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConnectError
from dexhil.drivers.glove import Glove
from dexhil.drivers.testing import Emulated, GloveConformance
from tests.drivers.emulated.helpers import until_fault

EMULATOR = "rokoko"
Make = Callable[..., Glove]


class TestRokoko(Emulated, GloveConformance):
    emulator = EMULATOR


class TestLeftRokoko(Emulated, GloveConformance):
    emulator = EMULATOR
    options: ClassVar[dict[str, Any]] = {"side": "left", "actor": "Ada"}


def test_a_clock_that_steps_back_is_followed_and_stamps_still_grow(
    make: Make,
    emulator: EmulatorProcess,
) -> None:
    with make() as glove:
        glove.clock.sleep(0.2)
        before = glove.observe()
        emulator.faults.rewind(100.0)
        glove.clock.sleep(0.3)
        after = glove.observe(max_age_s=0.3)
    assert before.device_stamp_s is not None
    assert after.device_stamp_s is not None
    assert after.device_stamp_s < before.device_stamp_s - 90.0
    assert after.stamp_s > before.stamp_s


def test_a_repeated_frame_is_no_fresh_sample(make: Make, emulator: EmulatorProcess) -> None:
    with make() as glove:
        emulator.faults.repeat()
        glove.clock.sleep(0.3)
        first = glove.observe()
        glove.clock.sleep(0.3)
        assert glove.observe().stamp_s == first.stamp_s
        assert not glove.health().ok
        assert "no sign of a right glove" in glove.health().reasons[0]


def test_doubled_datagrams_are_one_sample_each(make: Make, emulator: EmulatorProcess) -> None:
    with make() as glove:
        emulator.faults.duplicate(1.0)
        stamps = set()
        for _ in range(100):
            sample = glove.observe()
            stamps.add((sample.stamp_s, sample.device_stamp_s))
            glove.clock.sleep(0.005)
    assert len({device for _, device in stamps}) == len(stamps) > 5


def test_silence_is_a_fault_that_says_how_long_and_where(
    make: Make, emulator: EmulatorProcess
) -> None:
    with make() as glove:
        emulator.faults.freeze()
        port = emulator.options["port"]
        until_fault(glove.observe, match=rf"nothing received for 1\.\d s on UDP port {port}")


def test_the_silence_allowed_can_be_chosen(make: Make, emulator: EmulatorProcess) -> None:
    with make(silence_s=100.0) as glove:
        emulator.faults.freeze()
        for _ in range(300):
            glove.observe()
            glove.clock.sleep(0.01)
        assert "nothing received for" in glove.health().reasons[0]


def test_an_absent_actor_is_named(make: Make) -> None:
    with pytest.raises(ConnectError, match="no sign of a right glove on 'Bob' on UDP port"):
        make(actor="Bob").connect(timeout_s=0.5)


def test_two_processes_cannot_have_one_port(make: Make, emulator: EmulatorProcess) -> None:
    glove = make()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", emulator.options["port"]))  # noqa: S104
        with pytest.raises(ConnectError, match="cannot open UDP port"):
            glove.connect()


def test_the_wrist_is_where_the_wearer_holds_it(make: Make) -> None:
    with make() as glove:
        sample = glove.observe()
    assert sample.wrist_position is not None
    assert sample.wrist_orientation is not None
    assert np.allclose(sample.wrist_position, [0.3, -0.2, 1.1], atol=0.06)
    assert np.allclose(sample.keypoints[0], sample.wrist_position)
    assert np.linalg.norm(sample.wrist_orientation) == pytest.approx(1.0)


def test_a_lossy_network_is_survived(make: Make, emulator: EmulatorProcess) -> None:
    with make() as glove:
        emulator.faults.drop(0.3)
        emulator.faults.corrupt(0.2)
        emulator.faults.partial(0.2)
        stamps = set()
        for _ in range(100):
            stamps.add(glove.observe().stamp_s)
            glove.clock.sleep(0.01)
    assert len(stamps) > 10
