"""PSYONIC Ability Hand: six driven joints and thirty touch sensors, over a serial line."""

import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.hand.hand import Hand, HandSpec
from dexhil.drivers.joints import check_motion
from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.drivers.streamed import Sample, StreamedJoints
from dexhil.drivers.wire import ability as wire
from dexhil.drivers.wire.serial import SerialWire

REPLY_S = 0.02  # A USB adapter holds an answer back for up to 16 ms.
MOST_LEFTOVERS = 16  # Late or repeated answers to drop before asking; a babbler is no hand.
# Three different answers in turn: each field comes in two of three, and a late answer is known by
# being the wrong one.
VARIANTS = (
    wire.CURRENTS_AND_VELOCITIES,
    wire.CURRENTS_AND_TOUCH,
    wire.VELOCITIES_AND_TOUCH,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbilityHandConfig:
    """How to reach an ``AbilityHand``.

    Attributes:
        port: Serial port of the adapter, e.g. ``/dev/ttyUSB0``.
        baud: Of the serial port [bit/s].
        address: Of the hand, on a line that several share.
        side: Which hand it is.
        speed: Share of its full speed that it may use, above 0 to 1. At full speed it closes
            in 0.2 s, which is too fast to be let go of.
        tolerate_stops: Whether it is no fault when the hand stops a motor itself, too hot or
            blocked. Firmware that is set to halt on collisions needs this to grasp.
        watchdog_s: It holds still when no command came for this long [s].
        capture: File to write every byte down in.
    """

    port: str
    baud: int = 460800
    address: int = wire.ADDRESS
    side: Side = "right"
    speed: float = 0.5
    tolerate_stops: bool = False
    watchdog_s: float = 0.2
    capture: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.address <= 255:
            raise ValueError(f"address is {self.address}, allowed 0 to 255")
        check_motion(self.speed, self.watchdog_s)


class AbilityHand(StreamedJoints, Hand):
    """An Ability Hand. Tested against an emulator, never on hardware.

    Its serial port must be switched on once, with byte stuffing: commands We16, We46 and We47 in
    the developer mode of the maker's app.

    The hand answers everything that it is sent. While it may not move it is only asked, which
    moves nothing; while it may, every set point brings an answer. Without a valid message for
    300 ms it stops listening and stands still by itself.

    At 460800 baud a set point takes 0.4 ms and the longest answer 1.7 ms, of a cycle of 5 ms.
    """

    config_type = AbilityHandConfig
    period_s = 0.005

    def __init__(self, config: AbilityHandConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self._config = config
        kinematics = load_kinematics("ability", config.side)
        self._spec = HandSpec.of(
            kinematics, watchdog_s=config.watchdog_s, speed=config.speed, side=config.side
        )
        self._wire = SerialWire(config.port, config.baud, capture=config.capture)
        self._parser = wire.Parser()
        self._forget()

    @property
    def spec(self) -> HandSpec:
        return self._spec

    def _link_open(self, timeout_s: float) -> None:
        del timeout_s  # Opening does not wait for the hand.
        self._forget()
        self._wire.open()

    def _link_close(self) -> None:
        self._wire.close()

    def _forget(self) -> None:
        self._variants = cycle(VARIANTS)
        self._setpoint_sent: Vector | None = None  # None while it may not move.
        self._reply: tuple[float, wire.Reply] | None = None
        self._here = np.zeros(wire.N_JOINTS)
        self._velocities: Vector | None = None
        self._currents: Vector | None = None
        self._touch: Vector | None = None

    def _poll(self) -> Sample | None:
        answer, self._reply = self._reply, None  # What the last set point brought.
        answer = answer or self._exchange(self._setpoint_sent)
        if answer is None:
            return None
        stamp_s, reply = answer
        if reply.stopped and not self._config.tolerate_stops:
            raise RuntimeError(self._explain(reply.stopped))
        self._here = reply.positions
        self._velocities = reply.velocities if reply.velocities is not None else self._velocities
        self._currents = reply.currents if reply.currents is not None else self._currents
        if reply.touch is not None:
            self._touch = wire.touch_forces(reply.touch)
        if self._velocities is None or self._currents is None or self._touch is None:
            return None
        return Sample(
            stamp_s=stamp_s,
            positions=reply.positions,
            velocities=self._velocities,
            extras={"motor_currents": self._currents, "touch": self._touch},
        )

    def _switch_on(self, here: Vector) -> None:
        self._insist(here)

    def _switch_off(self) -> None:
        if self._setpoint_sent is None:
            return  # It has not been told to move.
        answer = self._exchange(None)
        # Where it is at this moment; if it does not say, where it was last.
        self._insist(self._here if answer is None else answer[1].positions)
        self._setpoint_sent = None

    def _send(self, setpoint: Vector) -> None:
        self._setpoint_sent = setpoint
        self._reply = self._exchange(setpoint)

    def _insist(self, positions: Vector) -> None:
        """Send a set point until the hand answers it.

        Raises:
            ConnectionError: It does not.
        """
        self._setpoint_sent = positions
        if not any(self._exchange(positions) for _ in range(5)):
            raise ConnectionError("the hand does not answer")

    def _exchange(self, setpoint: Vector | None) -> tuple[float, wire.Reply] | None:
        """Ask the hand how it is, and send a set point if there is one. Returns when, and how."""
        variant = next(self._variants)
        if setpoint is None:
            request = wire.read_request(variant, self._config.address)
        else:
            request = wire.position_request(setpoint, variant, self._config.address)
        for _ in range(MOST_LEFTOVERS):
            if not self._wire.receive(0.0):
                break
        self._parser.clear()
        self._wire.send(request)
        give_up_s = time.monotonic() + REPLY_S
        while (left_s := give_up_s - time.monotonic()) > 0:
            for body in self._parser.feed(self._wire.receive(left_s)):
                reply = wire.parse_reply(body)
                if reply is not None and reply.variant == variant:
                    return self.clock.now_s(), reply
        return None

    def _explain(self, stopped: int) -> str:
        names = [name for bit, name in enumerate(self._spec.joint_names) if stopped >> bit & 1]
        return (
            f"the hand stopped {', '.join(names) or 'a motor'} itself, too hot or blocked; "
            "free it, let it cool, then connect again"
        )
