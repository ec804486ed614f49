"""The DexHand021's frames: the maker's own examples, and whatever else may come down a bus."""

import struct
from math import radians

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire import dexhand
from dexhil.drivers.wire.can import CanFrame

boards = st.integers(0, 5)
angles = st.tuples(st.floats(-5.0, 5.0), st.floats(-5.0, 5.0))
forces = st.floats(-100, 100, width=32)
tactiles = st.builds(
    dexhand.Tactile,
    normal=forces,
    tangential=forces,
    direction=st.integers(0, 359).map(radians),
    proximity=st.integers(0, 2**32 - 1),
    temperature=st.integers(0, 2**32 - 1),
)
frames = st.builds(
    CanFrame,
    id=st.integers(0, 0x7FF) | st.sampled_from([0x187, 0x189, 0x107, 0x087, 0x007, 0x607]),
    data=st.binary(max_size=64)
    | st.binary(max_size=61).map(lambda rest: b"\x03\xa4" + rest)
    | st.binary(max_size=61).map(lambda rest: b"\xee\x03" + rest),
    remote=st.booleans(),
    fd=st.booleans(),
    error=st.booleans(),
)


def makers_feedback() -> bytes:
    """The example of the maker's own test, test_dexhand_protocol.py."""
    return (
        struct.pack("<8h", 100, 200, 1000, -150, -250, -2000, 4500, -9000)
        + struct.pack("<fIfIHII", 1.5, 100, 0.5, 50, 180, 500, 25)
        + struct.pack("<HH", 2048, 1024)
    )


def test_commands_are_those_of_the_maker() -> None:
    what = dexhand.Command(0, dexhand.Mode.CASCADED_PID, 3, (radians(10.0), radians(-20.0)))
    assert dexhand.command(what) == CanFrame(0x107, bytes.fromhex("44 03 E8 03 30 F8"), fd=True)
    clear = dexhand.configure(dexhand.ClearError(5))
    assert clear == CanFrame(0x00C, bytes.fromhex("03 A4"), fd=True)
    periodic = dexhand.FeedbackConfig(1, dexhand.FeedbackMode.PERIODIC, 0.5, enable=True)
    assert dexhand.configure(periodic) == CanFrame(0x008, bytes([3, 0x74, 1, 50, 1]), fd=True)


def test_feedback_is_read_as_the_maker_does() -> None:
    for length in (46, 48, 64):
        data = makers_feedback().ljust(length, b"\0")
        parsed = dexhand.parse(CanFrame(0x187, data, fd=True))
        assert isinstance(parsed, dexhand.Feedback)
        assert parsed.board == 0
        np.testing.assert_allclose(parsed.angles, (radians(45.0), radians(-90.0)))
        np.testing.assert_allclose(parsed.currents, (0.1, -0.15))
        assert parsed.tactile == dexhand.Tactile(
            normal=1.5, tangential=0.5, direction=radians(180), proximity=500, temperature=25
        )


def test_feedback_without_touch_is_enough() -> None:
    parsed = dexhand.parse(CanFrame(0x187, makers_feedback()[:16], fd=True))
    assert isinstance(parsed, dexhand.Feedback)
    assert parsed.tactile is None
    assert dexhand.parse(CanFrame(0x187, makers_feedback()[:15], fd=True)) is None


def test_the_board_without_a_fingertip_feels_nothing() -> None:
    parsed = dexhand.parse(CanFrame(0x188, makers_feedback(), fd=True))
    assert isinstance(parsed, dexhand.Feedback)
    assert parsed.board == 1
    assert parsed.tactile is None


@pytest.mark.parametrize("force", [np.nan, np.inf, 1e30])
def test_a_force_that_makes_no_sense_is_not_measured(force: float) -> None:
    data = bytearray(makers_feedback())
    struct.pack_into("<f", data, 16, force)
    parsed = dexhand.parse(CanFrame(0x187, bytes(data), fd=True))
    assert isinstance(parsed, dexhand.Feedback)
    assert parsed.tactile is None
    assert parsed.angles[0] == pytest.approx(radians(45.0))


def test_an_error_captured_from_hardware_is_a_stall_of_the_first_motor() -> None:
    # From the maker's own test, which says that it was captured.
    error = dexhand.parse(CanFrame(0x609, bytes.fromhex("EE 01 04").ljust(64, b"\0"), fd=True))
    assert error == dexhand.BoardError(2, 0x04)
    assert str(error) == "ff_dip: stall"
    assert error.only_stalls


def test_errors_name_motors_and_reasons() -> None:
    both = dexhand.BoardError(1, 0x21)
    assert str(both) == "th_rot: current overload, ff_spr: Hall sensor error"
    assert not both.only_stalls
    assert str(dexhand.BoardError(0, 0)) == "an error without a reason on board 0"
    assert not dexhand.BoardError(0, 0).only_stalls
    assert not dexhand.BoardError(0, 0x05).only_stalls


@pytest.mark.parametrize("board", range(dexhand.N_BOARDS))
def test_a_left_hand_has_boards_of_its_own(board: int) -> None:
    left = dexhand.LEFT_HAND
    command = dexhand.command(
        dexhand.Command(board, dexhand.Mode.CASCADED_PID, dexhand.BOTH, (0.1, 0.2)), left
    )
    assert command.id == 0x101 + board
    assert dexhand.parse_host(command) is None
    assert dexhand.parse_host(command, left) is not None
    reset = dexhand.ClearError(board)
    assert dexhand.parse_host(dexhand.configure(reset, left), left) == reset
    for said, frame in (
        (error := dexhand.BoardError(board, 1), dexhand.error(error, left)),
        (ack := dexhand.Ack(board, clears_error=True), dexhand.ack(ack, left)),
    ):
        assert dexhand.parse(frame, left) == said
        assert dexhand.parse(frame) is None


def test_a_left_hand_on_the_same_bus_is_not_ours() -> None:
    for board in range(1, 7):
        assert dexhand.parse(CanFrame(0x180 + board, makers_feedback(), fd=True)) is None


@given(boards, st.sampled_from(dexhand.Mode), st.integers(0, 3), angles)
def test_commands_survive_the_wire(
    board: int, mode: dexhand.Mode, motors: int, targets: tuple[float, float]
) -> None:
    parsed = dexhand.parse_host(dexhand.command(dexhand.Command(board, mode, motors, targets)))
    assert isinstance(parsed, dexhand.Command)
    assert (parsed.board, parsed.mode, parsed.motors) == (board, mode, motors)
    np.testing.assert_allclose(parsed.targets, targets, atol=0.5 * dexhand.ANGLE + 1e-12)


@given(boards, st.sampled_from(dexhand.FeedbackMode), st.integers(0, 255), st.booleans())
def test_configurations_survive_the_wire(
    board: int, mode: dexhand.FeedbackMode, units: int, enable: bool
) -> None:
    what = dexhand.FeedbackConfig(board, mode, units * 0.01, enable)
    assert dexhand.parse_host(dexhand.configure(what)) == what
    assert dexhand.parse_host(dexhand.configure(dexhand.ClearError(board))) == dexhand.ClearError(
        board
    )


@given(st.sampled_from(dexhand.TACTILE_BOARDS), angles, tactiles)
def test_feedback_survives_the_wire(
    board: int, where: tuple[float, float], tactile: dexhand.Tactile
) -> None:
    what = dexhand.Feedback(board=board, angles=where, currents=(0.123, -0.5), tactile=tactile)
    frame = dexhand.feedback(what)
    assert len(frame.data) == 48  # A length that CAN-FD has.
    parsed = dexhand.parse(frame)
    assert isinstance(parsed, dexhand.Feedback)
    assert parsed.tactile is not None
    np.testing.assert_allclose(parsed.angles, where, atol=0.5 * dexhand.ANGLE + 1e-12)
    np.testing.assert_allclose(parsed.currents, (0.123, -0.5))
    assert parsed.tactile.normal == tactile.normal
    assert parsed.tactile.direction == pytest.approx(tactile.direction)


@given(boards, st.integers(1, 255), st.booleans())
def test_reports_survive_the_wire(board: int, code: int, clears: bool) -> None:
    error, ack = dexhand.BoardError(board, code), dexhand.Ack(board, clears)
    assert dexhand.parse(dexhand.error(error)) == error
    assert dexhand.parse(dexhand.ack(ack)) == ack


@given(boards)
def test_a_hosts_own_frames_say_nothing_about_the_hand(board: int) -> None:
    what = dexhand.Command(board, dexhand.Mode.CASCADED_PID, 3, (0.1, 0.2))
    assert dexhand.parse(dexhand.command(what)) is None
    assert dexhand.parse(dexhand.configure(dexhand.ClearError(board))) is None


@given(frames)
def test_any_frame_is_understood_or_ignored(frame: CanFrame) -> None:
    said = dexhand.parse(frame)
    if isinstance(said, dexhand.Feedback):
        assert np.abs(said.angles).max() < 5.72  # 327.68 degrees.
        if said.tactile is not None:
            assert abs(said.tactile.normal) <= dexhand.STRONGEST
    if isinstance(said, dexhand.BoardError):
        assert str(said)
    if frame.remote or frame.error:
        assert said is None
    wanted = dexhand.parse_host(frame)
    assert wanted is None or 0 <= wanted.board < 6


@given(boards, angles, st.binary(max_size=48), st.data())
def test_mutated_feedback_is_understood_or_ignored(
    board: int, where: tuple[float, float], noise: bytes, data: st.DataObject
) -> None:
    whole = dexhand.feedback(dexhand.Feedback(board=board, angles=where, currents=(0.0, 0.0)))
    start = data.draw(st.integers(0, len(whole.data)))
    mutated = CanFrame(whole.id, whole.data[:start] + noise, fd=True)
    said = dexhand.parse(mutated)
    assert said is None or np.isfinite(said.angles).all()  # type: ignore[union-attr]
