"""The emulated controller's RTDE port: who asked for which values, and who may write which."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators import ur_kinematics as kinematics
from dexhil.drivers.emulators.link import TcpLink
from dexhil.drivers.emulators.ur_controller import Controller, Runtime
from dexhil.drivers.wire.rtde import (
    IN_USE,
    INPUT_TYPES,
    NOT_FOUND,
    OUTPUT_TYPES,
    Kind,
    Package,
    Parser,
    Recipe,
    names_in,
    parse_output_setup,
    setup_answer,
)

CONTROLLER_VERSION = (5, 13, 0, 0)  # The newest that every ur_rtde 1.6 understands alike.
Value = float | tuple[float, ...] | list[float]
_REGISTER = re.compile(r"(?:in|out)put_(int|double)_register_(\d+)")


class Variables:
    """The controller's output variables by name, each computed when somebody asks.

    Args:
        controller: Whose.
        altered: Returns what is told instead of the measured joint angles [rad].
    """

    def __init__(self, controller: Controller, altered: Callable[[Vector], Vector]) -> None:
        self._robot = controller
        self._altered = altered
        self.rewind_s = 0.0

    def __getitem__(self, name: str) -> Value:
        compute = _COMPUTED.get(name)
        if compute is not None:
            return compute(self)
        register = _REGISTER.fullmatch(name)
        if register is not None:
            robot, number = self._robot, int(register[2])
            return (robot.output_ints if register[1] == "int" else robot.output_doubles)[number]
        return {"VECTOR6D": (0.0,) * 6, "VECTOR3D": (0.0,) * 3, "VECTOR6INT32": (0,) * 6}.get(
            OUTPUT_TYPES[name], 0
        )

    @property
    def robot(self) -> Controller:
        return self._robot

    @property
    def timestamp(self) -> float:
        return self._robot.time_s - self.rewind_s

    @property
    def positions(self) -> list[float]:
        return [float(each) for each in self._altered(self._robot.measured)]


_COMPUTED: Mapping[str, Callable[[Variables], Value]] = {
    "timestamp": lambda v: v.timestamp,
    "actual_q": lambda v: v.positions,
    "actual_qd": lambda v: v.robot.velocities.tolist(),
    "target_q": lambda v: v.robot.targets.tolist(),
    "target_qd": lambda v: v.robot.velocities.tolist(),
    "actual_TCP_pose": lambda v: kinematics.tool_pose(v.robot.positions).tolist(),
    "target_TCP_pose": lambda v: kinematics.tool_pose(v.robot.targets).tolist(),
    "runtime_state": lambda v: int(v.robot.runtime),
    "robot_mode": lambda v: int(v.robot.mode),
    "safety_mode": lambda v: int(v.robot.safety),
    "safety_status_bits": lambda v: v.robot.safety.bits,
    "robot_status_bits": lambda v: (
        int(v.robot.mode > 3) | (v.robot.runtime is Runtime.PLAYING) << 1
    ),
    "speed_scaling": lambda v: v.robot.speed_slider,
    "target_speed_fraction": lambda v: v.robot.speed_slider,
}


class _Client:
    """What one connection agreed on."""

    def __init__(self) -> None:
        self.parser = Parser()
        self.outputs: Recipe | None = None
        self.output_names: tuple[str, ...] = ()
        self.inputs: dict[int, tuple[Recipe, tuple[str, ...]]] = {}
        self.period_s = 0.002
        self.due_s = 0.0
        self.streaming = False


class RtdeLink(TcpLink):
    """Port 30004.

    Args:
        host: Address to listen on.
        controller: Whose port it is.
        variables: What can be asked for.
    """

    def __init__(self, host: str, controller: Controller, variables: Variables) -> None:
        super().__init__(host, 30004)
        self._robot = controller
        self._variables = variables
        self._peers: dict[Any, _Client] = {}
        self.fieldbus = False  # Whether EtherNet/IP or PROFINET owns the input registers.

    def options(self) -> dict[str, Any]:
        return {"host": self.host}  # The client library knows the ports by heart.

    def hang_up(self, client: Any) -> None:
        self._peers.pop(client, None)
        super().hang_up(client)

    def take(self, data: bytes, client: Any) -> None:
        """Answer what ``client`` sent."""
        peer = self._peers.setdefault(client, _Client())
        for package in peer.parser.feed(data):
            answer = self._answer(peer, package)
            if answer is not None:
                self.send(answer.encode(), client)

    def stream(self, now_s: float) -> None:
        """Send what is due."""
        for client, peer in list(self._peers.items()):
            if not peer.streaming or peer.outputs is None or now_s < peer.due_s:
                continue
            # Whole periods only, so that a late step sends one package and not many.
            peer.due_s = max(peer.due_s + peer.period_s, now_s - peer.period_s)
            values = [self._variables[name] for name in peer.output_names]
            self.send(peer.outputs.encode(values), client)

    def _answer(self, peer: _Client, package: Package) -> Package | None:
        kind = package.kind
        if kind is Kind.PROTOCOL_VERSION:
            return Package(kind, bytes((package.payload == b"\x00\x02",)))
        if kind is Kind.CONTROLLER_VERSION:
            numbers = b"".join(number.to_bytes(4, "big") for number in CONTROLLER_VERSION)
            return Package(kind, numbers)
        if kind is Kind.SETUP_OUTPUTS:
            return self._set_up_outputs(peer, package.payload)
        if kind is Kind.SETUP_INPUTS:
            return self._set_up_inputs(peer, package.payload)
        if kind in (Kind.START, Kind.PAUSE):
            peer.streaming = kind is Kind.START and peer.outputs is not None
            return Package(kind, b"\x01")
        if kind is Kind.DATA and package.payload:
            self._write(peer, package.payload)
        return None

    def _set_up_outputs(self, peer: _Client, payload: bytes) -> Package:
        setup = parse_output_setup(payload)
        rate_hz, names = setup if setup is not None else (500.0, ())
        types = [OUTPUT_TYPES.get(name, NOT_FOUND) for name in names]
        if names and NOT_FOUND not in types:
            peer.outputs, peer.output_names = Recipe(1, types), names
            peer.period_s = 1 / rate_hz
        return setup_answer(Kind.SETUP_OUTPUTS, int(peer.outputs is not None), types)

    def _set_up_inputs(self, peer: _Client, payload: bytes) -> Package:
        names = names_in(payload)
        others = {
            name
            for other in self._peers.values()
            if other is not peer
            for _, written in other.inputs.values()
            for name in written
        }
        taken = set(names) if self.fieldbus else others
        types = [IN_USE if name in taken else INPUT_TYPES.get(name, NOT_FOUND) for name in names]
        if not names or IN_USE in types or NOT_FOUND in types:
            return setup_answer(Kind.SETUP_INPUTS, 0, types)
        number = len(peer.inputs) + 1
        peer.inputs[number] = (Recipe(number, types), names)
        return setup_answer(Kind.SETUP_INPUTS, number, types)

    def _write(self, peer: _Client, payload: bytes) -> None:
        recipe, names = peer.inputs.get(payload[0], (None, ()))
        values = recipe.decode(payload) if recipe is not None else None
        if values is None:
            return
        for name, value in zip(names, values, strict=True):
            register = _REGISTER.fullmatch(name)
            if register is None or isinstance(value, tuple):
                continue
            if register[1] == "int":
                self._robot.input_ints[int(register[2])] = int(value)
            else:
                self._robot.input_doubles[int(register[2])] = value
            if name == "input_int_register_0":
                self._robot.written()
