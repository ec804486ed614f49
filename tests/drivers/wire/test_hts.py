"""Hand Tracking Streamer's lines: the documented example, damage, and somebody else's parser."""

import numpy as np
import pytest
from hand_tracking_sdk.convert import unity_left_to_flu_position, unity_left_to_right_quaternion
from hand_tracking_sdk.parser import parse_line as their_parse_line
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire.hts import N_VALUES, HtsLine, HtsReader, format_line, parse_line
from dexhil.drivers.wire.lines import MAX_LINE, LineReader
from dexhil.drivers.wire.unity import (
    points_from_unity,
    points_to_unity,
    quaternion_from_unity,
    quaternion_to_unity,
)

# CONNECTIONS.md of github.com/wengmister/hand-tracking-streamer. Its little finger begins one
# joint too early: the app that wrote it had the indices 21-24.
WRIST = "Right wrist:, 0.2502, 1.0635, 0.2540, 0.194, -0.116, 0.094, -0.970"
LANDMARKS = (
    "Right landmarks:, 0.0000, 0.0000, 0.0000, -0.0275, -0.0197, 0.0362, -0.0438, -0.0335, "
    "0.0608, -0.0418, -0.0480, 0.0913, -0.0329, -0.0595, 0.1111, -0.0236, -0.0073, 0.0960, "
    "-0.0179, -0.0226, 0.1302, -0.0150, -0.0428, 0.1435, -0.0116, -0.0633, 0.1518, -0.0017, "
    "-0.0025, 0.0956, 0.0054, -0.0226, 0.1329, 0.0081, -0.0456, 0.1478, 0.0100, -0.0680, "
    "0.1589, 0.0175, -0.0065, 0.0887, 0.0252, -0.0222, 0.1236, 0.0279, -0.0407, 0.1424, "
    "0.0282, -0.0595, 0.1580, 0.0230, -0.0094, 0.0341, 0.0351, -0.0137, 0.0779, 0.0433, "
    "-0.0227, 0.1061, 0.0477, -0.0342, 0.1223"
)

floats = st.floats(min_value=-9.0, max_value=9.0)


def reader() -> HtsReader:
    return HtsReader(whole_messages=True)


def test_the_documented_example_is_understood_and_written_alike() -> None:
    wrist, landmarks = reader().feed(f"{WRIST}\n{LANDMARKS}".encode())
    assert (wrist.kind, wrist.side, wrist.values[:2]) == ("wrist", "right", (0.2502, 1.0635))
    assert (landmarks.kind, len(landmarks.values)) == ("landmarks", 63)
    assert format_line(wrist) == WRIST
    assert format_line(landmarks) == LANDMARKS


def test_the_documented_right_hand_is_a_right_hand_once_mirrored() -> None:
    (line,) = reader().feed(LANDMARKS.encode())
    keypoints = points_from_unity(np.reshape(line.values, (21, 3)))
    palmar = np.cross(keypoints[5] - keypoints[0], keypoints[17] - keypoints[0])
    curl = (keypoints[[8, 12, 16, 20]] - keypoints[[5, 9, 13, 17]]) @ palmar
    assert curl.mean() > 0


def test_frame_and_time_are_read_where_they_are_sent() -> None:
    line = parse_line(WRIST.replace(":", " | f = 12 | t = 3400000000:", 1))
    assert line is not None
    assert (line.frame, line.stamp_s) == (12, 3.4)


@given(st.lists(floats, min_size=63, max_size=63), st.integers(0, 10**6), st.integers(0, 10**12))
def test_their_parser_reads_what_we_write(values: list[float], frame: int, nanos: int) -> None:
    line = HtsLine("landmarks", "left", tuple(values), frame, nanos / 1e9)
    theirs = their_parse_line(format_line(line))
    assert theirs.side.value == "Left"
    assert np.allclose(theirs.data.points, np.reshape(values, (21, 3)), atol=1e-4)
    assert theirs.debug is not None
    assert theirs.debug.source_frame_seq == frame
    assert abs((theirs.debug.source_ts_ns or 0) - nanos) < 1000


@given(floats, floats, floats)
def test_axes_are_turned_as_their_library_turns_them(x: float, y: float, z: float) -> None:
    assert np.allclose(points_from_unity((x, y, z)), unity_left_to_flu_position(x, y, z))
    assert np.allclose(points_to_unity(points_from_unity((x, y, z))), (x, y, z))


def test_a_turned_point_is_the_same_in_both_axes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        xyzw = rng.normal(size=4)
        xyzw /= np.linalg.norm(xyzw)
        x, y, z, w = unity_left_to_right_quaternion(*xyzw)  # Theirs mirrors y only.
        # x right, y down, z forward to x forward, y left, z up.
        ours = quaternion_from_unity(xyzw)
        assert np.allclose(ours * np.sign(ours[0]), np.array([w, z, -x, -y]) * np.sign(w))
        assert np.allclose(quaternion_to_unity(ours), xyzw)


def test_a_stream_may_be_cut_anywhere() -> None:
    stream = f"{WRIST}\n{LANDMARKS}\n".encode()
    for size in (1, 7, 100):
        pieces = HtsReader(whole_messages=False)
        lines = [
            line for i in range(0, len(stream), size) for line in pieces.feed(stream[i : i + size])
        ]
        assert [line.kind for line in lines] == ["wrist", "landmarks"]


def test_a_datagram_that_was_cut_does_not_run_into_the_next() -> None:
    datagrams = reader()
    assert datagrams.feed(LANDMARKS[:200].encode()) == []
    assert [line.kind for line in datagrams.feed(LANDMARKS.encode())] == ["landmarks"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "Right wrist: 1, 2, 3",
        "Right wrist:, 0, 0, 0, 0, 0, 0, 0, 0",
        "Right wrist:, a, 0, 0, 0, 0, 0, 0",
        "Up wrist:, 0, 0, 0, 0, 0, 0, 0",
        "Head wrist:, 0, 0, 0, 0, 0, 0, 0",
        "Right pose:, 0, 0, 0, 0, 0, 0, 0",
        "Right wrist | f = 1" + "9" * 5000 + ":, 0, 0, 0, 0, 0, 0, 0" + "," * 5000,
    ],
)
def test_what_is_no_line_is_left_out(text: str) -> None:
    assert parse_line(text) is None


def test_a_frame_number_without_end_is_no_number() -> None:
    line = parse_line(WRIST.replace(":", f" | f = {'9' * 5000} | t = 1000000000:", 1))
    assert line is not None
    assert (line.frame, line.stamp_s) == (None, 1.0)


def test_an_endless_line_takes_no_memory() -> None:
    lines = LineReader()
    for _ in range(100):
        assert lines.feed(b"1" * MAX_LINE) == []
        assert len(lines._rest) <= MAX_LINE


def test_an_endless_line_is_forgotten() -> None:
    stream = HtsReader(whole_messages=False)
    for _ in range(100):
        assert stream.feed(b"1" * MAX_LINE) == []
    assert [line.kind for line in stream.feed(f"\n{WRIST}\n".encode())] == ["wrist"]


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_survived(data: bytes) -> None:
    for line in reader().feed(data):
        assert len(line.values) == N_VALUES[line.kind]


@given(st.integers(0, len(LANDMARKS) - 1), st.integers(0, 255))
def test_a_damaged_byte_is_survived(position: int, value: int) -> None:
    damaged = bytearray(LANDMARKS.encode())
    damaged[position] = value
    for line in reader().feed(bytes(damaged)):
        assert len(line.values) == N_VALUES[line.kind]


def test_numbers_beyond_all_measure_are_infinite_not_an_error() -> None:
    line = parse_line(WRIST.replace("0.2502", "1e999"))
    assert line is not None
    assert line.values[0] == float("inf")
    assert np.isnan(points_from_unity(line.values[:3])).any()
