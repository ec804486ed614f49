"""Universal Robots' e-Series arms, through ur_rtde."""

import logging
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from dexhil.drivers.arm import ur_session
from dexhil.drivers.arm.arm import Arm, ArmObservation, ArmSpec
from dexhil.drivers.arm.ur_session import PLAYING, RUNNING, State, safety_trouble
from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.joints import check_motion
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.streamed import Sample, StreamedJoints

log = logging.getLogger(__name__)

# What ur_rtde and the controller accept.
LOOKAHEAD_S = (0.03, 0.2)
GAIN = (100.0, 2000.0)
RATE_HZ = (50.0, 500.0)

POLL_S = 0.02  # Longest wait for the next state; two periods of the slowest rate are enough [s].
SWITCH_ON_S = 4.5  # Uploading and starting the control program takes up to a second [s].
SWITCH_OFF_S = 0.5  # Later than this the arm is left to its own watchdog [s].
UNLOCK_S = 8.0  # The controller unlocks a protective stop no sooner than 5 s after it [s].


@dataclass(frozen=True, slots=True, kw_only=True)
class UrConfig:
    """How to reach and drive a UR5e.

    The controller must be in remote control, powered on, with its brakes released.

    Attributes:
        host: Address of the controller.
        rate_hz: Of states and set points [1/s]. The controller interpolates between them.
        speed: Largest joint speed as a fraction of the maker's limit of 180 deg/s.
        ramp_s: One command is spread over this, the time until the next one [s].
        lookahead_s: The controller smooths set points over this; it lags as much [s].
        gain: Stiffness with which the controller follows set points.
        robot_watchdog_hz: The robot stops by itself when set points come less often [1/s].
        watchdog_s: The arm holds still when no command came for this long [s].
    """

    host: str
    rate_hz: float = 250.0
    speed: float = 0.5
    ramp_s: float = 1 / 30
    lookahead_s: float = 0.05
    gain: float = 300.0
    robot_watchdog_hz: float = 4.0
    watchdog_s: float = 0.2

    def __post_init__(self) -> None:
        for name, (low, high), unit in (
            ("rate_hz", RATE_HZ, " Hz"),
            ("lookahead_s", LOOKAHEAD_S, " s"),
            ("gain", GAIN, ""),
            ("robot_watchdog_hz", (1.0, self.rate_hz / 4), " Hz"),
            ("ramp_s", (0.0, 0.5), " s"),
            ("watchdog_s", (0.05, 1.0), " s"),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value:g}{unit}, allowed {low:g} to {high:g}{unit}")
        check_motion(self.speed, self.watchdog_s)


class UrArm(StreamedJoints, Arm):
    """A UR5e. Tested against an emulator, never on hardware.

    Connecting reads; enabling uploads ur_rtde's control program; disabling ends it, so a
    connected arm cannot move. While it is enabled the arm is in ``servoJ``, and the robot
    itself ends the program when set points stop coming. Efforts are not measured: the
    controller reports currents without the torques they make.

    A program that somebody else runs on the controller is never stopped: enabling is
    refused.
    """

    config_type = UrConfig
    observation_type = ArmObservation
    period_s = 0.0  # Each state that arrives is the tick.

    def __init__(self, config: UrConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self.ramp_s = config.ramp_s
        self._config = config
        table = load_kinematics("ur5e")
        self._spec = ArmSpec.of(table, watchdog_s=config.watchdog_s, speed=config.speed)
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._on = self._lost = False
        self._timestamp: float | None = None
        self._slider = 1.0

    @property
    def spec(self) -> ArmSpec:
        return self._spec

    # -- The holes of StreamedJoints -------------------------------------------------------

    def _link_open(self, timeout_s: float) -> None:
        del timeout_s  # Whoever opens the link waits for the first state.
        self._on = self._lost = False
        self._timestamp, self._slider = None, 1.0
        config = self._config
        ours, theirs = socket.socketpair()
        with ours, theirs:
            numbers = (config.rate_hz, config.lookahead_s, config.gain)
            # By its path, so that it does not wait for NumPy; -P keeps our folder off its path.
            self._process = subprocess.Popen(  # noqa: S603  # Ourselves.
                [
                    *(sys.executable, "-P", str(Path(ur_session.__file__))),
                    *(str(theirs.fileno()), config.host),
                    *map(str, numbers),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # ur_rtde prints what it also returns.
                stderr=subprocess.DEVNULL,
            )
            self._pipe = Connection(ours.detach())

    def _link_close(self) -> None:
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            try:
                pipe.send(("quit",))
            except OSError:
                pass
            finally:
                pipe.close()
        if process is not None:
            try:
                process.wait(SWITCH_OFF_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _poll(self) -> Sample | None:
        state = self._next_state(POLL_S)
        if state is None:
            return None
        trouble = safety_trouble(state.safety_bits)
        if trouble is not None:
            raise RuntimeError(trouble)
        if self._on and state.robot_mode != RUNNING:
            raise RuntimeError("the arm lost its power: power it on and release its brakes")
        if self._on and state.runtime != PLAYING:
            raise RuntimeError("its control program ended: see the pendant, then enable again")
        if self._timestamp is not None and state.timestamp < self._timestamp:
            raise RuntimeError(
                f"the controller's clock went back by {self._timestamp - state.timestamp:.3f} s: "
                "it restarted, or something else answers in its place"
            )
        self._timestamp, self._slider = state.timestamp, state.speed_fraction
        # Old states may have waited in the pipe while this machine was busy.
        age_s = max(0.0, time.monotonic() - state.received_s)
        return Sample(
            stamp_s=self.clock.now_s() - age_s,
            positions=np.array(state.positions),
            velocities=np.array(state.velocities),
        )

    def _switch_on(self, here: Vector) -> None:
        self._ask_session("on", here.tolist(), self._config.robot_watchdog_hz, within_s=SWITCH_ON_S)
        self._on = True

    def _switch_off(self) -> None:
        self._on = False
        if self._lost:
            # Nothing can be told to it any more; that was raised when the link went.
            log.warning("%s is out of reach; without set points it stops by itself", self.name)
        elif self._pipe is not None:
            self._ask_session("off", within_s=SWITCH_OFF_S)

    def _send(self, setpoint: Vector) -> None:
        self._tell_session("servo", setpoint.tolist())

    def _clear_errors(self) -> None:
        self._ask_session("clear", UNLOCK_S, within_s=UNLOCK_S + 5.0)

    def _warnings(self) -> tuple[str, ...]:
        slow = (f"its speed slider stands at {self._slider:.0%}",) if self._slider < 1 else ()
        return super()._warnings() + slow

    # -- The session -----------------------------------------------------------------------

    def _next_state(self, timeout_s: float) -> State | None:
        """Return the newest state, ``None`` when none came in time."""
        newest = None
        while (message := self._hear(timeout_s)) is not None:
            timeout_s = 0.0
            verb, *values = message
            if verb == "state":
                newest = State(*values)
                if safety_trouble(newest.safety_bits) is not None:
                    break  # It must not be overlooked, however soon it ends.
            elif verb == "refused":
                raise RuntimeError(values[0])
        return newest

    def _ask_session(self, verb: str, *values: Any, within_s: float) -> None:
        """Have the session do something. One that is late is killed: no other way is sure."""
        self._tell_session(verb, *values)
        give_up_s = time.monotonic() + within_s
        while (left_s := give_up_s - time.monotonic()) > 0:
            message = self._hear(left_s)
            if message is None:
                continue
            if message[0] == "done":
                return
            if message[0] == "failed":
                raise RuntimeError(message[1])
        if self._process is not None:
            self._process.kill()
        raise self._loss(
            f"the controller did not answer {verb!r} within {within_s:g} s; "
            "without set points it stops by itself"
        )

    def _tell_session(self, *message: Any) -> None:
        if self._pipe is None:
            raise ConnectionError("the link is closed")
        try:
            self._pipe.send(message)
        except OSError as error:
            raise self._loss("the link to the controller ended") from error

    def _hear(self, timeout_s: float) -> tuple[Any, ...] | None:
        if self._pipe is None:
            raise ConnectionError("the link is closed")
        message: tuple[Any, ...] | None = None
        try:
            if self._pipe.poll(timeout_s):
                message = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._loss("the link to the controller ended") from error
        if message is not None and message[0] == "gone":
            raise self._loss(message[1])
        return message

    def _loss(self, reason: str) -> ConnectionError:
        self._lost = True
        return ConnectionError(reason)
