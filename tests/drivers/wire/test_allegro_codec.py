"""The Allegro hand's frames: published examples, and whatever else may come down a bus."""

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.drivers.arrays import Vector
from dexhil.drivers.wire import allegro
from dexhil.drivers.wire.can import CanFrame

angles = st.tuples(*[st.floats(-2.9, 2.9)] * 4)
bytes8 = st.integers(0, 255)
words = st.integers(0, 0xFFFF)
infos = st.builds(
    allegro.Info,
    hardware=words,
    firmware=words,
    left=st.booleans(),
    temperature=bytes8,
    servo_on=st.booleans(),
    too_hot=st.booleans(),
    internal_fault=st.booleans(),
)
frames = st.builds(
    CanFrame,
    id=st.integers(0, 0x7FF) | st.sampled_from([0x80, 0x84, 0x88, 0x8C, 0x180, 0x200, 0x204]),
    data=st.binary(max_size=64),
    remote=st.booleans(),
    fd=st.booleans(),
    error=st.booleans(),
)


def test_identifiers_are_commands_shifted_by_two() -> None:
    assert allegro.servo(on=True) == CanFrame(0x40 << 2)
    assert allegro.servo(on=False) == CanFrame(0x41 << 2)
    assert allegro.ask(allegro.INFO) == CanFrame(0x80 << 2, remote=True)
    assert allegro.ask(allegro.SERIAL) == CanFrame(0x88 << 2, remote=True)
    ids = [allegro.torque(finger, [0, 0, 0, 0]).id for finger in range(4)]
    assert ids == [0x180, 0x184, 0x188, 0x18C]
    ids = [allegro.positions(finger, [0.0] * 4).id for finger in range(4)]
    assert ids == [0x80, 0x84, 0x88, 0x8C]


def test_frames_are_the_published_ones() -> None:
    assert allegro.period(3) == CanFrame(0x204, bytes.fromhex("03 00 00 00 00 00"))
    torque = allegro.torque(0, [100, -100, 0, 0])
    assert torque == CanFrame(0x180, bytes.fromhex("64 00 9C FF 00 00 00 00"))


def test_a_count_is_a_65536th_of_333_degrees() -> None:
    parsed = allegro.parse(CanFrame(0x84, bytes.fromhex("00 40 00 C0 00 00 01 00")))
    assert isinstance(parsed, allegro.Positions)
    assert parsed.finger == 1
    quarter = 333.3 / 4 * pi / 180
    np.testing.assert_allclose(parsed.angles, (quarter, -quarter, 0.0, 333.3 / 65536 * pi / 180))


def test_info_is_read_as_the_makers_driver_does() -> None:
    parsed = allegro.parse(CanFrame(0x200, bytes([0x03, 0x04, 0x01, 0x02, 1, 35, 0b011, 0])))
    assert parsed == allegro.Info(
        hardware=0x0403,
        firmware=0x0201,
        left=True,
        temperature=35,
        servo_on=True,
        too_hot=True,
        internal_fault=False,
    )
    assert parsed.generation == 4


def test_torque_is_clamped_by_joint_at_the_makers_limits() -> None:
    strong = np.full(16, 5.0)
    assert tuple(allegro.duty(strong)) == allegro.PWM_LIMITS
    assert tuple(allegro.duty(-strong)) == tuple(-limit for limit in allegro.PWM_LIMITS)
    assert allegro.PWM_LIMITS[:4] == (375, 675, 450, 285)
    assert allegro.PWM_LIMITS[12:] == (525, 405, 270, 270)


@given(arrays(np.float64, 16, elements=st.floats(-0.2, 0.2)))
def test_torques_survive_the_wire(torques: Vector) -> None:
    pwm = allegro.duty(torques)
    received: list[int] = []
    for finger in range(4):
        parsed = allegro.parse_torque(allegro.torque(finger, pwm[4 * finger : 4 * finger + 4]))
        assert parsed is not None
        assert parsed[0] == finger
        received += parsed[1]
    np.testing.assert_allclose(allegro.torques(received), torques, atol=0.5 / 1200 + 1e-12)


@given(st.integers(0, 3), angles)
def test_positions_survive_the_wire(finger: int, angles: tuple[float, ...]) -> None:
    parsed = allegro.parse(allegro.positions(finger, angles))
    assert isinstance(parsed, allegro.Positions)
    assert parsed.finger == finger
    np.testing.assert_allclose(parsed.angles, angles, atol=0.5 * allegro.RAW_ANGLE + 1e-12)


@given(infos)
def test_info_survives_the_wire(info: allegro.Info) -> None:
    assert allegro.parse(allegro.info(info)) == info


@given(words, words, words)
def test_periods_survive_the_wire(position_ms: int, imu_ms: int, temperature_ms: int) -> None:
    frame = allegro.period(position_ms, imu_ms, temperature_ms)
    assert allegro.parse_period(frame) == (position_ms, imu_ms, temperature_ms)


def test_a_serial_number_survives_the_wire() -> None:
    assert allegro.parse(allegro.serial("BR000042")) == allegro.Serial("BR000042")


@pytest.mark.parametrize(
    "own",
    [
        allegro.servo(on=True),
        allegro.torque(2, [1, 2, 3, 4]),
        allegro.period(3),
        allegro.ask(allegro.INFO),
        allegro.ask(allegro.SERIAL),
    ],
    ids=str,
)
def test_a_hosts_own_frames_say_nothing_about_the_hand(own: CanFrame) -> None:
    assert allegro.parse(own) is None


@pytest.mark.parametrize("flag", ["remote", "error", "fd"])
def test_a_question_a_report_or_a_fast_frame_holds_no_positions(flag: str) -> None:
    whole = allegro.positions(0, [0.1] * 4)
    assert allegro.parse(whole) is not None
    flagged = CanFrame(
        whole.id, whole.data, remote=flag == "remote", error=flag == "error", fd=flag == "fd"
    )
    assert allegro.parse(flagged) is None


@given(frames)
def test_any_frame_is_understood_or_ignored(frame: CanFrame) -> None:
    said = allegro.parse(frame)
    if isinstance(said, allegro.Positions):
        assert np.abs(said.angles).max() < 3.0
    if isinstance(said, allegro.Serial):
        assert said.text.isprintable()
    if frame.remote or frame.error:
        assert said is None
    torque = allegro.parse_torque(frame)
    assert torque is None or (0 <= torque[0] < 4 and len(torque[1]) == 4)
    allegro.parse_period(frame)


@given(infos, st.integers(0, 7))
def test_a_frame_cut_short_is_ignored(info: allegro.Info, length: int) -> None:
    for whole in (allegro.info(info), allegro.positions(0, [0.1] * 4), allegro.serial("BR000042")):
        # Seven bytes hold all of the info.
        if not (whole.id == allegro.INFO and length == 7):
            assert allegro.parse(CanFrame(whole.id, whole.data[:length])) is None
