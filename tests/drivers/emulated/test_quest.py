"""The Quest drivers against their emulator: hands, wrists, and somebody else's client."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from hand_tracking_sdk import HTSClient, HTSClientConfig, StreamOutput, TransportMode
from hand_tracking_sdk.convert import unity_left_to_flu_position

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConnectError
from dexhil.drivers.glove import Glove
from dexhil.drivers.glove.quest import QuestGlove, QuestGloveConfig
from dexhil.drivers.glove.sim import relaxed_hand
from dexhil.drivers.testing import Emulated, GloveConformance, TrackerConformance
from dexhil.drivers.tracker.quest import QuestTracker, QuestTrackerConfig
from dexhil.drivers.wire.hts import HtsLine, format_line
from dexhil.drivers.wire.unity import points_to_unity

EMULATOR = "quest"
Make = Callable[..., Glove]


class TestQuest(Emulated, GloveConformance):
    emulator = EMULATOR


class TestLeftQuest(Emulated, GloveConformance):
    emulator = EMULATOR
    options: ClassVar[dict[str, Any]] = {"side": "left"}


class TestQuestTracker(Emulated, TrackerConformance):
    emulator = EMULATOR

    @pytest.fixture(scope="class")
    @classmethod
    def process(cls) -> Iterator[EmulatorProcess]:
        with EmulatorProcess(cls.emulator) as process:
            process.kind = "tracker"  # The same headset, asked for something else.
            yield process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_their_client_understands_the_emulator(emulator: EmulatorProcess) -> None:
    client = HTSClient(
        HTSClientConfig(
            transport_mode=TransportMode.UDP,
            host="127.0.0.1",
            port=emulator.options["port"],
            output=StreamOutput.FRAMES,
            timeout_s=10.0,
        )
    )
    events = client.iter_events()
    frames = [next(events) for _ in range(30)]
    events.close()
    sides = [frame.side.value for frame in frames]
    assert {"Left", "Right", "Head"} >= set(sides) >= {"Left", "Right"}
    right = next(frame for frame in frames if frame.side.value == "Right")
    wrist = right.wrist
    assert np.allclose(
        unity_left_to_flu_position(wrist.x, wrist.y, wrist.z), [0.3, -0.2, 1.1], atol=0.06
    )
    assert len(right.landmarks.points) == 21


def test_both_hands_and_a_wrist_share_one_port(make: Make, emulator: EmulatorProcess) -> None:
    left, right = make(side="left"), make(side="right")
    tracker = QuestTracker(QuestTrackerConfig(port=emulator.options["port"]), name="wrist")
    with left, right, tracker:
        right.clock.sleep(0.3)
        hands = left.observe(max_age_s=0.3), right.observe(max_age_s=0.3)
        assert hands[0].finite
        assert hands[1].finite
        assert np.allclose(tracker.observe(max_age_s=0.3).position, [0.3, -0.2, 1.1], atol=0.06)
        right.disconnect()
        left.clock.sleep(0.3)
        left.observe(max_age_s=0.3)
        right.connect()
        assert right.observe().stamp_s > hands[1].stamp_s


def test_a_hand_out_of_view_is_lost_while_the_head_goes_on(
    make: Make, emulator: EmulatorProcess
) -> None:
    with make() as glove:
        emulator.faults.nan()
        glove.clock.sleep(1.5)
        sample = glove.observe(max_age_s=0.3)
        assert np.isnan(sample.keypoints).all()
        assert sample.wrist_position is not None
        assert np.isnan(sample.wrist_position).all()
        emulator.faults.clear()
        glove.clock.sleep(0.3)
        assert glove.observe(max_age_s=0.3).finite
        assert glove.health().ok


def test_a_repeated_frame_is_no_fresh_sample(make: Make, emulator: EmulatorProcess) -> None:
    with make() as glove:
        emulator.faults.repeat()
        glove.clock.sleep(0.3)
        first = glove.observe()
        glove.clock.sleep(0.3)
        assert glove.observe().stamp_s == first.stamp_s


def test_a_headset_that_restarts_its_clock_is_followed(
    make: Make, emulator: EmulatorProcess
) -> None:
    with make() as glove:
        before = glove.observe().device_stamp_s
        emulator.faults.rewind(50.0)
        glove.clock.sleep(0.3)
        after = glove.observe(max_age_s=0.3).device_stamp_s
    assert before is not None
    assert after is not None
    assert after < before


def test_a_stamp_that_steps_back_is_fresh_and_one_that_stays_is_not() -> None:
    decoder = QuestGlove(QuestGloveConfig(), name="x").new_decoder()
    n_fresh = []
    for stamp_s in (5.0, 5.0, 3.0, 3.0, 4.0, 5.0):
        line = HtsLine("landmarks", "right", (0.1,) * 63, stamp_s=stamp_s)
        n_fresh.append(len(decoder.feed(format_line(line).encode())))
    assert n_fresh == [1, 0, 1, 0, 1, 1]


def test_a_headset_without_clock_and_head_is_understood() -> None:
    hand = points_to_unity(relaxed_hand("right"))
    landmarks = HtsLine("landmarks", "right", tuple(hand.reshape(-1)))
    decoder = QuestGlove(QuestGloveConfig(), name="x").new_decoder()
    for _ in range(3):
        (sample,) = decoder.feed(format_line(landmarks).encode())
        assert sample.device_stamp_s is None
        assert np.allclose(sample.keypoints, relaxed_hand("right"), atol=1e-4)
        assert np.isnan(sample.wrist_position).all()  # No line of the wrist came.


def test_absurd_and_endless_numbers_are_a_lost_track() -> None:
    for value in ("nan", "inf", "1e999", "-1e300", "11"):
        text = "Right landmarks:" + f", {value}" * 63
        (sample,) = QuestGlove(QuestGloveConfig(), name="x").new_decoder().feed(text.encode())
        assert np.isnan(sample.observation(0.0).keypoints).all(), value


def test_tcp_is_listened_to_and_the_app_may_come_back() -> None:
    port = free_port()
    hand = relaxed_hand("right")
    glove = QuestGlove(QuestGloveConfig(transport="tcp", port=port), name="right")
    stop = threading.Event()

    def app() -> None:
        rng = np.random.default_rng(0)
        while not stop.wait(0.01):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
                    for _ in range(20):  # Then it crashes, in the middle of a line.
                        points = points_to_unity(hand + rng.normal(0.0, 1e-4, (21, 3)))
                        line = HtsLine("landmarks", "right", tuple(points.reshape(-1)))
                        connection.sendall(format_line(line).encode() + b"\n")
                        if stop.wait(0.01):
                            return
                    connection.sendall(b"Right landmarks:, 0.1, 0.2")
            except OSError:
                continue  # Nobody listens yet.

    thread = threading.Thread(target=app)
    thread.start()
    try:
        with glove:
            stamps = set()
            for _ in range(150):
                sample = glove.observe()
                stamps.add(sample.stamp_s)
                assert np.allclose(sample.keypoints, hand, atol=2e-3)
                glove.clock.sleep(0.01)
            assert len(stamps) > 40  # Of several connections.
    finally:
        stop.set()
        thread.join()


def test_something_else_on_the_port_is_named() -> None:
    port = free_port()
    glove = QuestGlove(QuestGloveConfig(port=port), name="right")
    stop = threading.Event()

    def noise() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not stop.wait(0.02):
                sender.sendto(b"hello", ("127.0.0.1", port))

    thread = threading.Thread(target=noise)
    thread.start()
    try:
        with pytest.raises(ConnectError, match="nothing but what is not Hand Tracking Streamer"):
            glove.connect(timeout_s=0.5)
    finally:
        stop.set()
        thread.join()
