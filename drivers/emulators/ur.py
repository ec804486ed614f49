"""A UR5e on its three ports: real-time data, programs, dashboard.

The client library knows the ports by heart, so every emulator has a loopback address of
its own.
"""

import random
import re
import socket
from typing import Any, ClassVar

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.link import TcpLink
from dexhil.drivers.emulators.ur_controller import Controller, RobotMode, Runtime, Safety
from dexhil.drivers.emulators.ur_rtde_server import RtdeLink, Variables

PORTS = (30004, 30003, 29999)
LONGEST_PROGRAM = 1_000_000  # Nobody uploads more than this [byte].
ATTEMPTS = 100
_PROGRAM_END = re.compile(rb"(?:^|\n)end\n\Z")


class UrEmulator(Emulator):
    """A UR5e, PolyScope 5.13, powered on and in remote control.

    Verbs of its own: ``protective_stop``, ``safeguard_stop``, ``emergency_stop``,
    ``safety_fault``, ``release`` (the emergency stop button), ``unlock_delay SECONDS``,
    ``slider FRACTION``, ``local``, ``remote``, ``play`` (a foreign program), ``stop``,
    ``fieldbus``, ``power_off``, ``joints SIX ANGLES``, ``forget_steps``.
    """

    kind: ClassVar[str] = "arm"
    driver: ClassVar[str] = "ur"
    period_s: ClassVar[float] = 0.002  # The controller's own.

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        host = _free_host()
        self._robot = Controller(self.rng)
        self._variables = Variables(self._robot, self._told)
        self._rtde: RtdeLink = self.add(RtdeLink(host, self._robot, self._variables))
        self._programs: _QuietLink = self.add(_QuietLink(host, 30003))
        self._dashboard: _DashboardLink = self.add(_DashboardLink(host, 29999))
        self._texts: dict[Any, bytes] = {}
        self._repeated: tuple[float, Vector] | None = None

    def received(self, link: Any, message: bytes, client: Any) -> None:
        if link is self._rtde:
            self._rtde.take(message, client)
            return
        text = self._texts.get(client, b"") + message
        if link is self._programs:
            if _PROGRAM_END.search(text):
                self._robot.load(text.decode(errors="replace"))
                text = b""
            self._texts[client] = text[-LONGEST_PROGRAM:]
            return
        *lines, rest = text.split(b"\n")
        self._texts[client] = rest[-LONGEST_PROGRAM:]
        for line in lines:
            reply = self._reply(line.decode(errors="replace").strip())
            link.send(reply.encode() + b"\n", client)

    def step(self, dt_s: float) -> None:
        self._robot.step(dt_s)
        if self.knobs.repeating:
            if self._repeated is None:
                self._repeated = (self._robot.time_s, self._robot.measured)
            self._variables.rewind_s = self._robot.time_s - self._repeated[0]
        else:
            self._repeated = None
            self._variables.rewind_s = self.knobs.rewind_s
        self._rtde.stream(self.now_s)
        if len(self._texts) > 100:
            talking = {*self._programs.clients, *self._dashboard.clients}
            self._texts = {each: text for each, text in self._texts.items() if each in talking}

    def state(self) -> dict[str, Any]:
        robot = self._robot
        return {
            "positions": robot.positions.tolist(),
            "velocities": robot.velocities.tolist(),
            "targets": robot.targets.tolist(),
            "enabled": robot.runtime is Runtime.PLAYING and bool(robot.program),
            "n_commands": robot.n_servo,
            "out_of_range": robot.n_out_of_range,
            "n_programs": robot.n_programs,
            "n_watchdog_stops": robot.n_watchdog_stops,
            "steps": [round(step, 5) for step in robot.steps],
            "n_refused_unlocks": robot.n_refused_unlocks,
            "longest_gap_s": robot.longest_gap_s,
            "commands": list(robot.commands),
            "safety": robot.safety.name,
            "runtime": robot.runtime.name,
            "n_clients": len(self._rtde.clients),
        }

    def reset(self) -> None:
        self._robot.reset()
        self._robot.unlock_delay_s = 0.5
        self._robot.model = "UR5"
        self._rtde.fieldbus = False
        self._texts.clear()
        for link in (self._rtde, self._programs, self._dashboard):
            for client in list(link.clients):
                link.hang_up(client)

    def control(self, verb: str, *values: str) -> None:
        robot = self._robot
        stops = {
            "protective_stop": Safety.PROTECTIVE_STOP,
            "safeguard_stop": Safety.SAFEGUARD_STOP,
            "emergency_stop": Safety.ROBOT_EMERGENCY_STOP,
            "safety_fault": Safety.FAULT,
        }
        if verb in stops:
            robot.stop_for_safety(stops[verb])
        elif verb == "release":
            robot.safety = Safety.NORMAL
        elif verb in ("unlock_delay_s", "speed_slider"):
            setattr(robot, verb, float(values[0]))
        elif verb == "model":
            robot.model = values[0]
        elif verb in ("local", "remote"):
            robot.remote_control = verb == "remote"
        elif verb == "play":
            robot.play_foreign_program()
        elif verb == "stop":
            robot.stop_program()
        elif verb == "power_off":
            robot.stop_program()
            robot.mode = RobotMode.POWER_OFF
        elif verb == "joints":
            robot.positions = robot.targets = np.array([float(value) for value in values])
        elif verb == "forget_steps":
            robot.longest_gap_s = 0.0
            robot.steps.clear()
        elif verb == "fieldbus":
            self._rtde.fieldbus = True
        else:
            super().control(verb, *values)

    def _told(self, measured: Vector) -> Vector:
        """Return the joint angles that are told instead of ``measured`` [rad]."""
        if self.knobs.nan:
            return np.full(6, np.nan)
        return measured if self._repeated is None else self._repeated[1]

    def _reply(self, line: str) -> str:
        """Answer a line at the dashboard. The words are those that ur_rtde looks for."""
        robot = self._robot
        safety = robot.safety.name
        questions = {
            "polyscopeversion": "URSoftware 5.13.0.0 (Mar 01 2023)",
            "get serial number": "20235500001",
            "get robot model": robot.model,
            "is in remote control": str(robot.remote_control).lower(),
            "running": f"Program running: {str(robot.runtime is Runtime.PLAYING).lower()}",
            "robotmode": f"Robotmode: {robot.mode.name}",
            "safetymode": f"Safetymode: {safety}",
            "safetystatus": f"Safetystatus: {safety}",
            "programstate": f"{robot.runtime.name} program.urp",
            "close safety popup": "closing safety popup",
            "quit": "Disconnected",
        }
        line = line.lower()
        return questions[line] if line in questions else self._do(line)

    def _do(self, line: str) -> str:
        """Do what a line at the dashboard asks for, and answer."""
        robot = self._robot
        if not robot.remote_control and line in ("stop", "power on", "brake release"):
            return "Command is not allowed due to safety reasons"
        reply = f"could not understand: '{line}'"
        if line == "unlock protective stop":
            reply = (
                "Protective stop releasing"
                if robot.unlock()
                else "Cannot unlock protective stop until 5s after occurrence. "
                "Always inspect cause of protective stop before unlocking"
            )
        elif line == "stop":
            robot.stop_program()
            reply = "Stopped"
        elif line in ("power on", "brake release"):
            if robot.safety is Safety.NORMAL:
                robot.mode = RobotMode.IDLE if line == "power on" else RobotMode.RUNNING
            reply = "Powering on" if line == "power on" else "Brake releasing"
        return reply


class _QuietLink(TcpLink):
    """A port that the rig file need not name."""

    def options(self) -> dict[str, Any]:
        return {}


class _DashboardLink(_QuietLink):
    """Port 29999."""

    def greet(self, client: Any) -> None:
        self.send(b"Connected: Universal Robots Dashboard Server\n", client)


def _free_host() -> str:
    """Return a loopback address of which nobody uses the controller's ports.

    Raises:
        OSError: A hundred random ones were in use.
    """
    # Two emulators with one seed must still not share an address, so this is true chance.
    chance = random.SystemRandom()
    for _ in range(ATTEMPTS):
        host = (
            f"127.{chance.randrange(1, 255)}.{chance.randrange(1, 255)}.{chance.randrange(2, 254)}"
        )
        try:
            for port in PORTS:
                socket.create_server((host, port)).close()
        except OSError:
            continue
        return host
    raise OSError("no loopback address is free")
