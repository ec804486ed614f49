"""The Allegro hand against its emulator, and what a hand without a watchdog asks of its host."""

import time
from typing import Any, ClassVar

import numpy as np
import pytest

from dexhil.drivers.arrays import Vector
from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.errors import ConfigError, FaultError
from dexhil.drivers.hand import Hand, HandCommand
from dexhil.drivers.hand.allegro import OLD_S, AllegroHand, AllegroHandConfig
from dexhil.drivers.streamed import Sample
from dexhil.drivers.testing import HandConformance
from dexhil.drivers.testing.emulated import Emulated
from dexhil.drivers.wire import allegro
from dexhil.drivers.wire.can import CanFrame, CanWire
from tests.drivers.emulated.helpers import (
    BAD_BUS,
    until,
    until_fault,
    until_garbage_is_a_fault,
)

WAIT_S = 5.0  # Generous: this machine may be busy.
STEP = 0.15  # [rad].


def until_limp(process: EmulatorProcess) -> None:
    def limp() -> bool:
        state = process.state()
        return not state["enabled"] and not any(state["targets"])

    until(limp, "torque or servo stayed on")


def drive(hand: Hand, goal: Vector, duration_s: float = 0.5) -> None:
    for _ in range(round(duration_s / 0.02)):
        hand.command(HandCommand(joint_positions=goal))
        hand.clock.sleep(0.02)


class TestAllegro(Emulated, HandConformance):
    emulator = "allegro"

    # -- The loop that runs in the driver -----------------------------------------------

    def test_torque_follows_every_set_of_positions(
        self, connected: Hand, process: EmulatorProcess
    ) -> None:
        connected.enable()
        before = process.state()["n_commands"]
        connected.clock.sleep(1.0)
        # 333 sets of four in a second; a busy machine leaves out what it cannot do in time.
        assert process.state()["n_commands"] - before > 4 * 33

    def test_no_torque_exceeds_the_makers_limits(
        self, connected: Hand, process: EmulatorProcess
    ) -> None:
        connected.enable()
        drive(connected, connected.spec.position_limits[:, 1], 0.6)
        drive(connected, connected.spec.position_limits[:, 0], 0.6)
        assert process.state()["out_of_range"] == 0

    def test_efforts_are_not_measured_and_not_made_up(self, connected: Hand) -> None:
        assert connected.observe().joint_efforts is None

    # -- Every end sends zero -------------------------------------------------------------

    def test_a_host_that_dies_leaves_its_torque_on(self, process: EmulatorProcess) -> None:
        # The danger of this hand, and why its driver ends as the tests below say.
        process.tell("reset")
        wire = CanWire(**process.options)
        wire.open()
        wire.send(allegro.servo(on=True))
        wire.send(allegro.torque(0, [0, 300, 0, 0]))
        wire.close()
        until(lambda: process.state()["positions"][1] > 1.6, "the finger stopped on its way")
        state = process.state()
        assert state["enabled"]
        assert state["targets"][1] == pytest.approx(300 / 1200)

    def test_connecting_takes_the_torque_that_a_dead_host_left(
        self, device: Hand, process: EmulatorProcess
    ) -> None:
        wire = CanWire(**process.options)
        wire.open()
        wire.send(allegro.servo(on=True))
        wire.send(allegro.torque(0, [0, 300, 0, 0]))
        wire.close()
        until(lambda: process.state()["enabled"], "it did not listen")
        device.connect()
        until_limp(process)

    @pytest.mark.parametrize("end", ["disable", "disconnect", "leave_by_an_error"])
    def test_every_deliberate_end_leaves_it_limp(
        self, device: Hand, process: EmulatorProcess, end: str
    ) -> None:
        def use() -> None:
            with device:
                device.enable()
                drive(device, device.observe().joint_positions + 0.1, 0.1)
                until(lambda: any(process.state()["targets"]), "it never pushed")
                if end == "leave_by_an_error":
                    raise ZeroDivisionError
                getattr(device, end)()
                until_limp(process)

        if end == "leave_by_an_error":
            with pytest.raises(ZeroDivisionError):
                use()
        else:
            use()
        until_limp(process)

    @pytest.mark.expects_fault
    @pytest.mark.parametrize(
        ("verb", "text"),
        [
            ("heat", "too hot, 85 °C"),
            ("internal_fault", "internal fault"),
            ("servo_trip", "switched its servo off by itself"),
        ],
    )
    def test_what_the_hand_reports_is_a_fault_and_leaves_it_limp(
        self, connected: Hand, process: EmulatorProcess, verb: str, text: str
    ) -> None:
        connected.enable()
        drive(connected, connected.observe().joint_positions + 0.1, 0.3)
        process.tell(verb)
        assert text in until_fault(connected.observe)
        assert connected.state is State.FAULTED
        until_limp(process)

    @pytest.mark.expects_fault
    def test_losing_most_frames_is_a_fault_and_leaves_it_limp(
        self, connected: Hand, process: EmulatorProcess, faults: RemoteFaults
    ) -> None:
        connected.enable()
        faults.drop(0.97)
        until_fault(connected.observe)
        faults.clear()
        connected.disconnect()  # Whatever got lost on the way is sent again.
        until_limp(process)

    @pytest.mark.expects_fault
    def test_a_servo_that_does_not_switch_on_is_a_fault(
        self, connected: Hand, process: EmulatorProcess
    ) -> None:
        process.tell("servo_broken")
        with pytest.raises(FaultError, match="does not switch its servo on"):
            connected.enable()

    # -- Which hand it is -----------------------------------------------------------------

    @pytest.mark.parametrize(
        ("verb", "text"), [("left", "a left hand"), ("generation 3", "Allegro Hand V3")]
    )
    def test_a_hand_it_does_not_know_is_refused(
        self, device: Hand, process: EmulatorProcess, verb: str, text: str
    ) -> None:
        process.tell(*verb.split())
        with pytest.raises(ConfigError, match=text):
            device.connect()
        assert device.state is State.DISCONNECTED

    def test_a_hand_swapped_between_two_connections_is_noticed(
        self, connected: Hand, process: EmulatorProcess
    ) -> None:
        connected.disconnect()
        process.tell("left")
        with pytest.raises(ConfigError, match="a left hand"):
            connected.connect()

    # -- A bad bus --------------------------------------------------------------------------

    @pytest.mark.parametrize("trouble", BAD_BUS)
    def test_it_moves_on_a_bad_bus(
        self, device: Hand, process: EmulatorProcess, trouble: tuple[str, Any]
    ) -> None:
        process.tell(*trouble)
        device.connect()
        device.enable()
        start = device.observe().joint_positions.copy()
        goal = start.copy()
        goal[5] += STEP
        give_up_s = time.monotonic() + WAIT_S
        while np.abs(device.observe().joint_positions - goal).max() > 0.05:
            assert time.monotonic() < give_up_s
            device.command(HandCommand(joint_positions=goal))
            device.clock.sleep(0.02)
        assert process.state()["out_of_range"] == 0
        process.tell("clear")  # So that the end is heard.

    @pytest.mark.expects_fault
    def test_repeated_positions_are_no_positions_while_it_moves(
        self, connected: Hand, faults: RemoteFaults
    ) -> None:
        connected.enable()
        faults.repeat()
        with pytest.raises(FaultError, match="repeats the same values"):
            drive(connected, connected.observe().joint_positions + 0.4, WAIT_S)

    @pytest.mark.expects_fault
    def test_sensors_at_the_end_of_their_range_are_a_fault_and_never_seen(
        self, connected: Hand, faults: RemoteFaults
    ) -> None:
        connected.enable()
        faults.nan()
        assert "reports -2.91 rad" in until_garbage_is_a_fault(connected)


class Ears:
    """A wire that writes down what is sent."""

    def __init__(self) -> None:
        self.sent: list[CanFrame] = []

    def send(self, frame: CanFrame) -> None:
        self.sent.append(frame)

    def torques(self) -> Vector:
        pwm = [each for frame in self.sent[-4:] for each in allegro.parse_torque(frame)[1]]  # type: ignore[index]
        return allegro.torques(pwm)


@pytest.fixture
def deaf() -> tuple[AllegroHand, Ears]:
    """A hand without a bus, which saw its joints in the middle of their ranges."""
    hand, ears = AllegroHand(AllegroHandConfig(), name="deaf"), Ears()
    hand._wire = ears  # type: ignore[assignment]
    middle = hand.spec.position_limits.mean(axis=1)
    hand._sample = Sample(stamp_s=0.0, positions=middle, velocities=np.zeros(16))
    hand._fresh_s = hand.clock.now_s()
    return hand, ears


def test_torque_is_stiffness_times_error_less_damping_times_speed(
    deaf: tuple[AllegroHand, Ears],
) -> None:
    hand, ears = deaf
    assert hand._sample is not None
    middle, speed = hand._sample.positions, np.full(16, 0.2)
    hand._sample = Sample(stamp_s=0.0, positions=middle, velocities=speed)
    hand._send(middle + 0.05)
    # The maker's gains_pd.yaml, by hand for the index finger's second joint.
    assert ears.torques()[1] == pytest.approx((4000 * 0.05 - 200 * 0.2) / 1200, abs=1e-3)


def test_no_torque_is_computed_from_old_positions(deaf: tuple[AllegroHand, Ears]) -> None:
    hand, ears = deaf
    assert hand._sample is not None
    hand._send(hand._sample.positions + 0.1)
    assert np.abs(ears.torques()).min() > 0
    hand._fresh_s -= 2 * OLD_S
    hand._send(hand._sample.positions + 0.1)
    np.testing.assert_array_equal(ears.torques(), np.zeros(16))


def test_frames_read_late_are_no_leap(deaf: tuple[AllegroHand, Ears]) -> None:
    hand, _ = deaf
    speeds = []
    for i in range(30):
        # Held up after the tenth set, then ten sets at once: as a busy host reads them.
        frame_s = 100.0 + (0.003 * i if not 10 <= i < 20 else 0.06 + 1e-4 * (i - 10))
        for finger in range(4):
            hand._take(allegro.positions(finger, [0.006 * i] * 4))
        speeds.append(hand._complete(frame_s).velocities.max())
    assert max(speeds) < 2.1  # The joints turn at 2 rad/s all the time.


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stiffness": (1.0,) * 15}, "stiffness must be 16"),
        ({"damping": (-1.0,) * 16}, "damping must be 16 finite numbers, none below 0"),
        ({"speed": 1.5}, "speed is 1.5"),
        ({"watchdog_s": 0.0}, "watchdog_s is 0 s"),
        ({"watchdog_s": np.inf}, "watchdog_s is inf s"),
    ],
)
def test_a_configuration_without_sense_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        AllegroHandConfig(**options)


class TestLeftAllegroHand(Emulated):
    emulator = "allegro"
    options: ClassVar[dict[str, Any]] = {"side": "left"}

    def test_a_left_hand_is_welcome(self, device: Hand, process: EmulatorProcess) -> None:
        process.tell("left")
        with device:
            assert device.spec.side == "left"
            assert device.spec.kinematics is not None
            assert device.spec.kinematics.chains["ring"][0] == "joint_0"
            assert device.observe().joint_positions.shape == (16,)

    def test_a_right_hand_is_refused(self, device: Hand) -> None:
        with pytest.raises(ConfigError, match="this is a right hand"):
            device.connect()
