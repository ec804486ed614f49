"""The controller of an xArm7: requests, its state machine, and a hundred reports a second.

Read in the maker's documents and SDK: functions, frames, states, modes, limits, speed, codes.
Assumed: error 24 comes when a set point is further away than the arm goes in 0.1 s, and
torques are a rough guess. The tool's pose is not modelled.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.link import TcpLink
from dexhil.drivers.emulators.motion import FirstOrder
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.wire.xarm import (
    N_JOINTS,
    REPORT_HZ,
    Function,
    Mode,
    Motion,
    Report,
    Request,
    RequestStream,
    Status,
    decode_joints,
    encode_answer,
    encode_floats,
    encode_report,
)

SPEED = math.pi  # Servo mode moves each joint at up to 180°/s [rad/s].
FARTHEST = 0.1 * SPEED  # A set point further away asks for too much speed [rad].
TOLERANCE = math.radians(0.1)  # Of the controller's joint limits [rad].
ROUNDING = 1e-6  # Of a limit written as a 32-bit number [rad].
NOISE = 1e-5  # Of the joint encoders [rad].
TORQUE_NOISE = 0.05  # Of torques estimated from currents [N·m].
# Torques that gravity asks of joints 2, 4 and 6 of a level arm [N·m].
GRAVITY = np.array([0.0, 22.0, 0.0, 9.0, 0.0, 2.0, 0.0])
FRICTION = np.array([4.0, 4.0, 3.0, 3.0, 2.0, 2.0, 1.0])  # [N·m·s/rad]

SPEED_ERROR, LIMIT_ERROR, BUTTON_ERROR = 24, 23, 1
READY = (Motion.SPORT, Motion.MOVING, Motion.STANDBY)


class XArmEmulator(Emulator):
    """An xArm7 and its controller, as after power-on: braked, stopped, in position mode."""

    kind = "arm"
    driver = "xarm"
    period_s = 0.005

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._control: TcpLink = self.add(TcpLink())
        self._report: TcpLink = self.add(TcpLink())
        self._kinematics = load_kinematics("xarm7")
        self._reads: dict[int, Callable[[], bytes]] = {
            Function.GET_VERSION: self._version,
            Function.GET_REPORT_CURRENTS: lambda: bytes(["report_currents" in self._oddities]),
            Function.GET_STATE: lambda: bytes([self._state]),
            Function.GET_QUEUED: lambda: bytes(2),
            Function.GET_ERROR: lambda: bytes([self._error, self._warning]),
            Function.GET_JOINTS: lambda: encode_floats(self._measure().positions),
            Function.GET_TORQUES: lambda: encode_floats(self._measure().torques),
        }
        self.reset()

    def options(self) -> dict[str, Any]:
        ports = {"control_port": self._control.port, "report_port": self._report.port}
        return {"host": self._control.host, **ports}

    def reset(self) -> None:
        home = self._kinematics.extra["home"]
        self._joints = FirstOrder(home, SPEED, time_constant_s=0.03)
        self._target: Vector | None = None
        self._measured: tuple[Vector, Vector] | None = None
        self._streams: dict[Any, RequestStream] = {}
        self._model = (N_JOINTS, 7)
        self._state, self._mode = Motion.STOPPED, int(Mode.POSITION)
        self._error = self._warning = 0
        self._enabled = self._pressed = False
        self._oddities: set[str] = set()
        self._n_commands = self._n_ignored = self._out_of_range = 0
        self._reported_s = self.now_s

    def state(self) -> dict[str, Any]:
        target = self._joints.positions if self._target is None else self._target
        return {
            "positions": self._joints.positions.tolist(),
            "targets": target.tolist(),
            "enabled": self._enabled and self._state in READY,
            "braked": not self._enabled,
            "state": int(self._state),
            "mode": self._mode,
            "error": self._error,
            "n_commands": self._n_commands,
            "n_ignored": self._n_ignored,
            "out_of_range": self._out_of_range,
            "clients": len(self._control.clients) + len(self._report.clients),
        }

    def control(self, verb: str, *values: str) -> None:
        """Do one of the cases below; ``press`` and ``release`` are of the red button."""
        numbers = [int(value) for value in values]
        match verb, numbers:
            case "error", [code]:
                self._fail(code)
            case "warning", [code]:
                self._warning = code
            case "press", []:
                self._fail(BUTTON_ERROR)
                self._pressed, self._enabled = True, False
            case "release", []:
                self._pressed = False
            case "pause" | "stop", []:
                self._set_state(Motion.PAUSED if verb == "pause" else Motion.STOPPED)
            case "mode", [mode]:
                self._set_mode(mode)
            case "report_currents" | "deaf", []:
                self._oddities.add(verb)
            case "model", [axes, kind]:
                self._model = (axes, kind)
            case "reboot", []:
                for link in (self._control, self._report):
                    for client in list(link.clients):
                        link.hang_up(client)
                self.reset()
            case _:
                super().control(verb, *values)

    # -- Time ------------------------------------------------------------------

    def step(self, dt_s: float) -> None:
        runs = self._enabled and self._state in READY
        self._joints.step(dt_s, self._target if runs else None)
        if runs:
            moving = np.abs(self._joints.velocities).max() > 0.001
            self._state = Motion.MOVING if moving else Motion.STANDBY
        if self.now_s - self._reported_s >= 1 / REPORT_HZ - 0.5 * self.period_s:
            self._reported_s = max(self._reported_s + 1 / REPORT_HZ, self.now_s - 1 / REPORT_HZ)
            self._report.send(encode_report(self._measure()))

    def _measure(self) -> Report:
        if self._measured is None or not self.knobs.repeating:
            joints = self._joints
            noise = self.rng.normal(0.0, 1.0, (2, N_JOINTS))
            weight = np.sin(np.cumsum(joints.positions * (GRAVITY > 0)))
            torques = GRAVITY * weight + FRICTION * joints.velocities + TORQUE_NOISE * noise[1]
            self._measured = (joints.positions + NOISE * noise[0], torques)
        positions, torques = self._measured
        return Report(
            state=self._state,
            mode=self._mode,
            positions=positions * np.nan if self.knobs.nan else positions,
            torques=torques,
        )

    # -- Requests ----------------------------------------------------------------

    def received(self, link: Any, message: bytes, client: Any) -> None:
        if link is not self._control or "deaf" in self._oddities:
            return  # Nobody has anything to say to the report port.
        stream = self._streams.setdefault(client, RequestStream())
        for request in stream.feed(message):
            data = self._answer(request)
            status = Status(0) if data is not None else Status.INVALID
            if self._error:
                status |= Status.ERROR
            if self._warning:
                status |= Status.WARNING
            if self._state not in (*READY, Motion.PAUSED):
                status |= Status.NOT_READY
            link.send(encode_answer(request, status, data or b""), client)

    def _answer(self, request: Request) -> bytes | None:
        """Do what is asked and return the data of the answer, ``None`` if it is not understood."""
        if (says := self._reads.get(request.function)) is not None:
            return says()
        return b"" if self._did(request) else None

    def _version(self) -> bytes:
        axes, kind = self._model
        text = f"{axes},{kind},XI130506F22L03,AC130607B19L06,v2.5.0"
        return (text.encode() + b"\0").ljust(40, b"\0")

    def _did(self, request: Request) -> bool:
        match request.function, list(request.payload):
            case Function.MOTION_ENABLE, [8, enable]:
                self._enabled = bool(enable) and not self._pressed
                if not self._enabled:
                    self._set_state(Motion.STOPPED)
            case Function.SET_STATE, [state]:
                self._set_state(state)
            case Function.CLEAN_ERROR, []:
                self._error = BUTTON_ERROR if self._pressed else 0
            case Function.CLEAN_WARNING, []:
                self._warning = 0
            case Function.SET_MODE, [mode, *_]:
                self._set_mode(mode)
            case Function.SERVO_JOINTS, _:
                self._servo(decode_joints(request.payload))
            case _:
                return False
        return True

    def _servo(self, target: Vector | None) -> None:
        ready = self._enabled and self._state in READY and self._mode == Mode.SERVO
        if not ready or target is None:
            self._n_ignored += 1
            return
        self._n_commands += 1
        low, high = self._kinematics.position_limits.T
        outside = np.maximum(low - target, target - high).max()
        self._out_of_range += bool(outside > ROUNDING)
        if outside > TOLERANCE:
            self._fail(LIMIT_ERROR)
        elif np.abs(target - self._joints.positions).max() > FARTHEST:
            self._fail(SPEED_ERROR)
        else:
            self._target = target

    def _set_mode(self, mode: int) -> None:
        self._mode, self._target = mode, None
        self._state = Motion.CHANGED

    def _set_state(self, state: int) -> None:
        if state == Motion.SPORT and (self._error or not self._enabled):
            return
        if state in (Motion.SPORT, Motion.PAUSED, Motion.STOPPED, Motion.SLOWING):
            self._target = None
            self._state = {
                Motion.SPORT: Motion.STANDBY,
                Motion.SLOWING: Motion.STOPPED,
            }.get(Motion(state), Motion(state))

    def _fail(self, code: int) -> None:
        self._error, self._target, self._state = code, None, Motion.STOPPED
