"""UFACTORY's protocol: the maker's examples, the maker's SDK, and bytes that mean nothing."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from xarm.core.wrapper import UxbusCmdTcp
from xarm.x3.report import ReportDataStructure

from dexhil.drivers.wire.xarm import (
    Function,
    Motion,
    Report,
    ReportStream,
    Request,
    RequestStream,
    Status,
    decode_joints,
    encode_answer,
    encode_floats,
    encode_report,
)

MOTION_ENABLE = bytes.fromhex("00 01 00 02 00 03 0B 08 01")
SERVO_JOINTS = bytes.fromhex("00 02 00 02 00 29 1D") + struct.pack(
    "<10f", 0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7, 0.35, 8.7, 0.0
)
HEARTBEAT = bytes.fromhex("00 00 00 01 00 02 00 00")

angles = st.lists(st.floats(-6.25, 6.25, width=32), min_size=7, max_size=7).map(np.array)
torques = st.lists(st.floats(-50, 50, width=32), min_size=7, max_size=7).map(np.array)
reports = st.builds(
    lambda state, mode, positions, torques: Report(
        state=state, mode=mode, positions=positions, torques=torques
    ),
    st.sampled_from(list(Motion)),
    st.integers(0, 11),
    angles,
    torques,
)
splits = st.lists(st.integers(1, 300), max_size=30)


def fed(stream: Any, data: bytes, sizes: list[int]) -> list[Any]:
    """Feed ``data`` in pieces of ``sizes``, the rest at once."""
    found, at = [], 0
    for size in sizes:
        found += stream.feed(data[at : at + size])
        at += size
    return found + stream.feed(data[at:])


def same(left: Report, right: Report) -> bool:
    return (left.state, left.mode, left.queued) == (right.state, right.mode, right.queued) and all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("positions", "torques", "pose")
    )


# -- The maker's examples ------------------------------------------------------------


def test_the_published_request_to_open_the_brakes_is_understood() -> None:
    (request,) = RequestStream().feed(MOTION_ENABLE)
    assert request == Request(1, 2, Function.MOTION_ENABLE, b"\x08\x01")


def test_the_published_answers_are_given() -> None:
    (request,) = RequestStream().feed(MOTION_ENABLE)
    assert encode_answer(request, Status.NOT_READY) == bytes.fromhex("00 01 00 02 00 02 0B 10")
    (request,) = RequestStream().feed(bytes.fromhex("00 01 00 02 00 01 0E"))
    answer = encode_answer(request, 0, bytes(2))
    assert answer == bytes.fromhex("00 01 00 02 00 04 0E 00 00 00")


def test_a_set_point_is_big_endian_outside_and_little_endian_inside() -> None:
    (request,) = RequestStream().feed(SERVO_JOINTS)
    assert (request.transaction, request.function) == (2, Function.SERVO_JOINTS)
    joints = decode_joints(request.payload)
    assert joints is not None
    np.testing.assert_allclose(joints, [0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7], atol=1e-7)


def test_heartbeats_are_no_requests() -> None:
    requests = RequestStream().feed(HEARTBEAT + MOTION_ENABLE + HEARTBEAT + SERVO_JOINTS)
    assert [each.function for each in requests] == [11, 29]


def test_a_report_has_the_published_layout() -> None:
    report = Report(
        state=2, mode=1, queued=258, positions=np.arange(7) / 8, torques=np.arange(7) * 1.0
    )
    data = encode_report(report)
    assert len(data) == 87 + 48
    assert data[:7] == bytes.fromhex("00 00 00 87 12 01 02")
    assert struct.unpack("<7f", data[7:35]) == tuple(np.arange(7) / 8)
    assert struct.unpack("<7f", data[59:87]) == tuple(np.arange(7))


def test_the_short_report_of_old_firmware_is_understood() -> None:
    report = Report(state=4, mode=0, positions=np.full(7, 0.5), torques=np.full(7, 2.0))
    data = encode_report(report)[:87]
    short = (87).to_bytes(4, "big") + data[4:]
    first, second = ReportStream().feed(short * 2)
    assert same(first, report)
    assert same(second, report)


# -- The maker's SDK -----------------------------------------------------------------


class Recorder:
    """A port that the SDK writes to and that never answers."""

    def __init__(self) -> None:
        self.sent = b""

    def flush(self) -> None: ...

    def write(self, data: bytes) -> int:
        self.sent += data
        return 0

    def read(self, timeout: float) -> int:
        del timeout
        return -1


@pytest.mark.parametrize(
    ("ask", "function", "payload"),
    [
        (lambda sdk: sdk.motion_en(8, 1), Function.MOTION_ENABLE, b"\x08\x01"),
        (lambda sdk: sdk.set_state(4), Function.SET_STATE, b"\x04"),
        (lambda sdk: sdk.set_mode(1, 0), Function.SET_MODE, b"\x01\x00"),
        (lambda sdk: sdk.get_err_code(), Function.GET_ERROR, b""),
        (lambda sdk: sdk.get_report_tau_or_i(), Function.GET_REPORT_CURRENTS, b""),
        (lambda sdk: sdk.clean_war(), Function.CLEAN_WARNING, b""),
    ],
)
def test_what_the_sdk_asks_is_understood(
    ask: Callable[[Any], Any], function: Function, payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = Recorder()
    sdk = UxbusCmdTcp(port)
    monkeypatch.setattr(sdk, "recv_modbus_response", lambda *_, **__: [0] * 10)
    ask(sdk)
    (request,) = RequestStream().feed(port.sent)
    assert request == Request(1, 2, function, payload)


@given(positions=angles)
def test_what_the_sdk_sends_as_a_set_point_arrives(positions: np.ndarray) -> None:
    port = Recorder()
    sdk = UxbusCmdTcp(port)
    sdk.recv_modbus_response = lambda *_, **__: [0]
    sdk.move_servoj(positions.tolist(), 0.35, 8.7, 0)
    (request,) = RequestStream().feed(port.sent)
    np.testing.assert_array_equal(decode_joints(request.payload), positions)


@given(report=reports)
def test_the_sdk_reads_in_a_report_what_was_written(report: Report) -> None:
    theirs = ReportDataStructure.create(30003, is_radian=True)
    theirs.update(encode_report(report))
    assert (theirs.state, theirs.mode, theirs.data_size) == (report.state, report.mode, 135)
    np.testing.assert_array_equal(theirs.actual_joint_angle, report.positions)
    np.testing.assert_array_equal(theirs.estimated_joint_torque, report.torques)


# -- Streams -------------------------------------------------------------------------


@given(several=st.lists(reports, max_size=8), sizes=splits)
def test_reports_arrive_whole_however_they_are_cut(several: list[Report], sizes: list[int]) -> None:
    found = fed(ReportStream(), b"".join(map(encode_report, several)), sizes)
    assert len(found) == len(several)
    assert all(map(same, found, several))


@given(sizes=splits)
def test_requests_arrive_whole_however_they_are_cut(sizes: list[int]) -> None:
    data = (MOTION_ENABLE + HEARTBEAT + SERVO_JOINTS) * 4
    found = fed(RequestStream(), data, sizes)
    assert [each.function for each in found] == [11, 29] * 4


def require_sane(found: list[Report]) -> None:
    for report in found:
        assert 0 <= report.state <= max(Motion)
        assert np.abs(report.positions).max() <= 6.5
        assert np.abs(report.torques).max() <= 500
        assert np.isfinite(report.pose).all()


@given(data=st.binary(max_size=2000), sizes=splits)
@example(data=bytes(2000), sizes=[])
def test_garbage_is_no_report_out_of_range_and_is_forgotten(data: bytes, sizes: list[int]) -> None:
    stream = ReportStream()
    require_sane(fed(stream, data, sizes))
    assert len(stream._buffer) <= 512
    # Whatever was there, the reports that follow are understood soon.
    report = Report(state=2, mode=1, positions=np.full(7, 0.25), torques=np.zeros(7))
    later = fed(stream, encode_report(report) * 12, [])
    assert len(later) >= 6
    assert same(later[-1], report)


@given(
    several=st.lists(reports, min_size=1, max_size=6),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 7)), min_size=1, max_size=8),
    sizes=splits,
)
def test_a_mutated_stream_gives_nothing_out_of_range(
    several: list[Report], flips: list[tuple[int, int]], sizes: list[int]
) -> None:
    data = bytearray(b"".join(map(encode_report, several)))
    for at, bit in flips:
        data[at % len(data)] ^= 1 << bit
    require_sane(fed(ReportStream(), bytes(data), sizes))


@given(report=reports, kept=st.integers(1, 134))
def test_a_report_cut_short_costs_no_other(report: Report, kept: int) -> None:
    whole = encode_report(report)
    other = Report(state=1, mode=1, positions=np.full(7, 1.5), torques=np.full(7, -3.0))
    found = ReportStream().feed(whole[:kept] + encode_report(other) * 6)
    assert len(found) == 6
    assert all(same(each, other) for each in found)


@pytest.mark.parametrize("worst", [np.nan, np.inf, 7.0, -1e30])
def test_a_report_that_says_nonsense_is_left_out(worst: float) -> None:
    good = Report(state=2, mode=1, positions=np.full(7, 0.5), torques=np.zeros(7))
    positions = np.full(7, 0.5)
    positions[3] = worst
    bad = Report(state=2, mode=1, positions=positions, torques=np.zeros(7))
    found = ReportStream().feed(encode_report(good) + encode_report(bad) + encode_report(good))
    assert len(found) == 2
    assert all(same(each, good) for each in found)


@given(data=st.binary(max_size=2000), sizes=splits)
def test_garbage_never_stops_the_requests(data: bytes, sizes: list[int]) -> None:
    stream = RequestStream()
    for request in fed(stream, data, sizes):
        assert 0 <= request.function <= 255
    assert len(stream._buffer) <= 1024
    found = stream.feed(SERVO_JOINTS * 40)
    assert len(found) >= 20
    assert found[-1].function == Function.SERVO_JOINTS


@given(payload=st.binary(max_size=60))
def test_joints_are_decoded_finite_or_not_at_all(payload: bytes) -> None:
    joints = decode_joints(payload)
    assert joints is None or np.isfinite(joints).all()
    assert decode_joints(payload[:27]) is None
    assert decode_joints(encode_floats(np.full(7, np.nan))) is None
