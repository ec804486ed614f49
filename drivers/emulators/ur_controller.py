"""An emulated UR e-Series controller: registers, a control program, joints, a safety system.

The control program is the one that ur_rtde uploads. Its text is not interpreted; what it
does every 2 ms is done here instead, for the commands that a client of ours may send.
Source: ur_rtde 1.6.5 (rtde_control.script, rtde_control_interface.cpp).

What is inferred: that the speed slider slows servo commands, how long a program takes to
start, and that a servo follows its target like a first-order lag of ``lookahead_time``.
"""

import math
from collections import deque
from enum import Enum, IntEnum

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators import ur_kinematics as kinematics
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.wire.rtde import N_REGISTERS

READY, DONE = 1, 2  # What the program says in output_int_register_0.
START_S = 0.03  # From the last byte of a program to its first step [s].
ARRIVED = 1e-4  # A move ends this close to its target [rad, m].
TOO_FAST = 2.0  # Straight motion that asks a joint for this many times its top speed stops.
NOISE = 5e-6  # Encoder noise [rad].
POWER_ON_POSE = (-0.379, -1.4551, 2.0183, -0.0837, 1.2311, 1.3993)  # As in ur5e.toml [rad].


class Runtime(IntEnum):
    """Of the program."""

    STOPPED = 1
    PLAYING = 2
    PAUSED = 4


class RobotMode(IntEnum):
    """Of the drives."""

    POWER_OFF = 3
    IDLE = 5
    RUNNING = 7


class Safety(IntEnum):
    """The safety system's modes that are emulated; the values are those of ``safety_mode``."""

    NORMAL = 1
    PROTECTIVE_STOP = 3
    SAFEGUARD_STOP = 5
    ROBOT_EMERGENCY_STOP = 7
    FAULT = 9

    @property
    def bits(self) -> int:
        """``safety_status_bits``."""
        stopped = 1 << 10
        return {
            Safety.NORMAL: 1,
            Safety.PROTECTIVE_STOP: 1 << 2 | stopped,
            Safety.SAFEGUARD_STOP: 1 << 4 | stopped,
            Safety.ROBOT_EMERGENCY_STOP: 1 << 6 | 1 << 7 | stopped,
            Safety.FAULT: 1 << 9 | stopped,
        }[self]


class Motion(Enum):
    """What the program makes the joints do."""

    NONE = "none"
    SERVO = "servo"
    MOVE = "move"
    LINE = "line"
    SPEED_JOINTS = "speed_joints"
    SPEED_TOOL = "speed_tool"


# Commands that are carried out in every cycle, without waiting for a clear in between.
_REALTIME = frozenset({6, 9, 10, 11, 24, 25, 26, 27, 38, 58, *range(66, 72)})
_STOP_SCRIPT = 255


class Controller:
    """The robot behind the ports. Time passes only in ``step``."""

    def __init__(self, rng: np.random.Generator) -> None:
        table = load_kinematics("ur5e")
        self._rng = rng
        self._limits = table.position_limits
        self._speeds = table.velocity_limits
        self.model = "UR5"
        self.unlock_delay_s = 0.5  # 5 s on a real controller, too long for a test.
        self.reset()

    def reset(self) -> None:
        """Be as if just booted, brakes released, in remote control."""
        self.time_s = 100.0  # Not zero: zero hides bugs.
        self.input_ints, self.input_doubles = [0] * N_REGISTERS, [0.0] * N_REGISTERS
        self.output_ints, self.output_doubles = [0] * N_REGISTERS, [0.0] * N_REGISTERS
        self.positions: Vector = np.array(POWER_ON_POSE)
        self.velocities: Vector = np.zeros(6)
        self.targets: Vector = self.positions.copy()
        self.measured: Vector = self.positions.copy()
        self.runtime = Runtime.STOPPED
        self.mode = RobotMode.RUNNING
        self.safety = Safety.NORMAL
        self.speed_slider = 1.0
        self.remote_control = True
        self.program = ""
        self.n_programs = self.n_servo = self.n_out_of_range = self.n_watchdog_stops = 0
        self.n_refused_unlocks = 0
        self.steps: deque[float] = deque(maxlen=300)  # From one servo target to the next [rad].
        self.longest_gap_s = 0.0
        self.commands: deque[int] = deque(maxlen=50)
        self._motion = Motion.NONE
        self._pose: Vector | None = None
        self._speed = 0.0
        self._rates: Vector = np.zeros(6)
        self._until_s = np.inf
        self._lookahead_s = 0.1
        self._starting_s: float | None = None
        self._executing = self._blocked = False
        self._watchdog_hz = 0.0
        self._written_s = self._servo_s = 0.0
        self._stopped_s = -np.inf
        self._last_servo: Vector | None = None

    # -- From outside ----------------------------------------------------------------

    def written(self) -> None:
        """A client wrote input_int_register_0: that feeds the watchdog, whatever it says."""
        self._written_s = self.time_s

    def load(self, program: str) -> None:
        """A program arrived. It starts a moment later, and replaces one that runs."""
        if self.mode is not RobotMode.RUNNING or self.safety is not Safety.NORMAL:
            return  # The real one reports it on the pendant and starts nothing.
        if not self.remote_control:
            return
        self.program, self._starting_s = program, self.time_s + START_S

    def stop_program(self) -> None:
        """End the program: the joints stop where they are."""
        self._halt()
        self.runtime, self.program, self._starting_s = Runtime.STOPPED, "", None
        self._watchdog_hz = 0.0

    def stop_for_safety(self, safety: Safety) -> None:
        """Let the safety system intervene."""
        self._halt()
        self.safety, self._stopped_s = safety, self.time_s
        if safety in (Safety.ROBOT_EMERGENCY_STOP, Safety.FAULT):
            self.stop_program()
            self.mode = RobotMode.POWER_OFF
        elif self.runtime is Runtime.PLAYING:
            self.runtime = Runtime.PAUSED

    def unlock(self) -> bool:
        """Release a protective stop. Returns whether that was allowed yet."""
        if self.safety is not Safety.PROTECTIVE_STOP:
            return True
        if self.time_s - self._stopped_s < self.unlock_delay_s:
            self.n_refused_unlocks += 1
            return False
        self.safety = Safety.NORMAL
        return True

    def play_foreign_program(self) -> None:
        """Run a program that somebody started on the pendant."""
        self.program, self.runtime = "foreign", Runtime.PLAYING

    # -- Time ------------------------------------------------------------------------

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` pass."""
        self.time_s += dt_s
        if self._starting_s is not None and self.time_s >= self._starting_s:
            self._start()
        if self.runtime is Runtime.PLAYING and self.program != "foreign":
            self._watch()
        if self.runtime is Runtime.PLAYING and self.program != "foreign":
            self._run()
        self._move(dt_s)
        self.measured = self.positions + self._rng.normal(0.0, NOISE, 6)

    def _start(self) -> None:
        self._starting_s = None
        self._halt()
        self.runtime = Runtime.PLAYING
        self.n_programs += 1
        self._executing = self._blocked = False
        self._watchdog_hz = 0.0
        self.output_ints[0] = READY

    def _watch(self) -> None:
        if self._watchdog_hz > 0 and self.time_s - self._written_s > 1 / self._watchdog_hz:
            self.n_watchdog_stops += 1
            self.stop_program()

    def _run(self) -> None:
        """Do what the control program does in one cycle."""
        if self._blocked:
            if self._motion is not Motion.NONE:
                return
            self._blocked = False
            self.output_ints[0] = DONE
        command = self.input_ints[0]
        if command in _REALTIME:
            self._do(command)
            self.output_ints[0] = READY
        elif command == 0:
            self._executing = False
            self.output_ints[0] = READY
        elif not self._executing:
            self._executing = True
            self.commands.append(command)
            self._do(command)
            if command != _STOP_SCRIPT and not self._blocked:
                self.output_ints[0] = DONE

    def _do(self, command: int) -> None:
        values = self.input_doubles
        if command == 11:
            self._servo_joints()
        elif command == 24:
            self._servo_tool()
        elif command in (9, 10):
            self._motion = Motion.SPEED_JOINTS if command == 9 else Motion.SPEED_TOOL
            self._rates = np.array(values[:6])
            self._until_s = self.time_s + values[7] if values[7] > 0 else np.inf
        elif command in (1, 4):
            self._move_to(joints=np.array(values[:6]), speed=values[6])
        elif command in (2, 3):
            self._move_to(pose=np.array(values[:6]), speed=values[6])
        elif command in (15, 16, 33, 34):
            self._halt()
        elif command == 26:
            self.output_doubles[0] = 0.002
        elif command == 31:
            self.stop_for_safety(Safety.PROTECTIVE_STOP)
        elif command == 35:
            self._watchdog_hz = values[0]
        elif command == 47:
            self.output_ints[1] = int(self._motion is Motion.NONE)
        elif command == _STOP_SCRIPT:
            self.stop_program()

    def _servo_joints(self) -> None:
        target = np.array(self.input_doubles[:6])
        low, high = self._limits.T
        allowed = np.clip(np.nan_to_num(target), low, high)
        if self._last_servo is None:
            self._last_servo = self.positions.copy()
            self._servo_s = self._written_s
        # The register keeps its value: only what was written since the last cycle counts.
        if self._written_s > self._servo_s:
            self.n_out_of_range += not np.allclose(target, allowed, rtol=0.0, atol=1e-9)
            self.longest_gap_s = max(self.longest_gap_s, self._written_s - self._servo_s)
            self._servo_s = self._written_s
            self.n_servo += 1
            self.steps.append(float(np.abs(allowed - self._last_servo).max()))
        self._last_servo = self.targets = allowed
        self._lookahead_s = max(self.input_doubles[9], 0.03)
        self._motion, self._pose = Motion.SERVO, None

    def _servo_tool(self) -> None:
        self._pose = np.array(self.input_doubles[:6])
        self._lookahead_s = max(self.input_doubles[9], 0.03)
        self._motion = Motion.SERVO

    def _move_to(
        self, *, joints: Vector | None = None, pose: Vector | None = None, speed: float
    ) -> None:
        self._motion = Motion.MOVE if joints is not None else Motion.LINE
        self._pose, self._speed = pose, speed
        if joints is not None:
            self.targets = joints
        self._blocked = self.input_ints[1] == 0  # Otherwise the move was asked for as a thread.

    # -- Joints ----------------------------------------------------------------------

    def _halt(self) -> None:
        self._motion, self._pose = Motion.NONE, None
        self._last_servo = None
        self.targets = self.positions.copy()

    def _move(self, dt_s: float) -> None:
        moving = self.mode is RobotMode.RUNNING and self.safety is Safety.NORMAL
        wanted = self._wanted_speeds(dt_s) if moving else np.zeros(6)
        top = self._speeds * self.speed_slider
        self.velocities = np.clip(wanted, -top, top)
        self.positions = self.positions + self.velocities * dt_s

    def _wanted_speeds(self, dt_s: float) -> Vector:
        """Return the joint speeds that the present motion asks for [rad/s]."""
        if self._motion is Motion.NONE:
            return np.zeros(6)
        if self._motion is Motion.SPEED_JOINTS:
            return self._rates if self.time_s < self._until_s else np.zeros(6)
        if self._motion is Motion.MOVE or (self._motion is Motion.SERVO and self._pose is None):
            return self._approach(self.targets - self.positions, dt_s)
        if self._motion is Motion.SPEED_TOOL:
            twist = self._rates if self.time_s < self._until_s else np.zeros(6)
        else:
            assert self._pose is not None  # noqa: S101  # Set with these motions.
            twist = self._approach(kinematics.twist_to(self.positions, self._pose), dt_s)
        speeds = kinematics.joint_speeds(self.positions, twist)
        if (np.abs(speeds) > TOO_FAST * self._speeds).any():
            # Near a singular pose, or out of reach: no joint can be that fast.
            self.stop_for_safety(Safety.PROTECTIVE_STOP)
            return np.zeros(6)
        return speeds

    def _approach(self, gap: Vector, dt_s: float) -> Vector:
        """Return the speeds that close ``gap``, of joints or of the tool, as the motion does."""
        if self._motion is Motion.SERVO:
            # Exact over the step, so that a late one cannot overshoot.
            return gap * ((1.0 - math.exp(-dt_s / self._lookahead_s)) / dt_s)
        farthest = max(float(np.linalg.norm(gap[:3])), float(np.linalg.norm(gap[3:])))
        if farthest < ARRIVED:
            self._motion = Motion.NONE
        return gap * min(0.5 / dt_s, self._speed / max(farthest, 1e-9))
