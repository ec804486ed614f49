"""The Wonik Allegro Hand V4, over CAN.

The hand itself knows torques only: the loop that holds its joints where they should be runs
here, once for every set of positions that it sends, 333 times a second.
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.hand.hand import Hand, HandSpec
from dexhil.drivers.joints import check_motion
from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.drivers.streamed import Differentiator, Sample, StreamedJoints
from dexhil.drivers.wire import allegro
from dexhil.drivers.wire.can import CanFrame, CanWire, FrameClock

PERIOD_MS = 3  # The maker's: four position frames and four torque frames take 1 ms of the bus.
ANSWER_S = 0.02  # A set of positions that is not complete by then is not waited for [s].
OLD_S = 0.03  # Torque from positions older than this, or that hang, pushes blindly [s].
SILENT_S = 0.1  # A hand that sends no positions for this long was not told to, or restarted [s].
INFO_S = 0.05  # Between questions for its servo, temperature and faults [s].
CONFIRM_S = 0.02  # The hand tells within this whether its servo is on [s].
ATTEMPTS = 10  # To switch the servo, before the hand counts as deaf.
N_JOINTS = allegro.N_FINGERS * allegro.JOINTS_PER_FINGER

# The maker's gains_pd.yaml, which its launch file loads, in units of PWM: 4000 per rad, and
# 150, 200, 150, 150 per rad/s (thumb 300, 200, 200, 150). The smaller numbers inside its program
# (600 per rad) let a finger sag by more than 0.1 rad under its own weight.
STIFFNESS = (4000 / allegro.PWM_PER_TORQUE,) * N_JOINTS
DAMPING = tuple(
    gain / allegro.PWM_PER_TORQUE for gain in (150, 200, 150, 150) * 3 + (300, 200, 200, 150)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllegroHandConfig:
    """How to build an ``AllegroHand``.

    Attributes:
        interface: Kind of CAN adapter, in python-can's words.
        channel: Which one.
        port: UDP port, for ``udp_multicast`` only, which is how the emulator is reached.
        side: Which hand it is.
        stiffness: Torque per error of each joint [N·m/rad].
        damping: Torque per speed of each joint [N·m·s/rad].
        speed: Share of the joints' largest speeds to use at most.
        watchdog_s: It holds still when no command came for this long [s].
        capture: File to write every frame down in.
    """

    interface: str = "socketcan"
    channel: str = "can0"
    port: int | None = None
    side: Side = "right"
    stiffness: tuple[float, ...] = STIFFNESS
    damping: tuple[float, ...] = DAMPING
    speed: float = 1.0
    watchdog_s: float = 0.2
    capture: Path | None = None

    def __post_init__(self) -> None:
        for name in ("stiffness", "damping"):
            gains = getattr(self, name)
            if len(gains) != N_JOINTS or not all(0 <= gain < np.inf for gain in gains):
                raise ValueError(f"{name} must be {N_JOINTS} finite numbers, none below 0")
        check_motion(self.speed, self.watchdog_s)


class AllegroHand(StreamedJoints, Hand):
    """An Allegro Hand V4. Tested against an emulator, never on hardware.

    A hand whose host falls silent keeps the last torque: its firmware has no documented
    watchdog. So every end of this driver, and every fault, sends four times zero and switches
    the servo off, and the hand goes limp. A host that is killed outright cannot do so; for that
    there is the power switch. Efforts are not measured, so observations have none.
    """

    config_type = AllegroHandConfig
    period_s = 0.0  # The hand sets the pace.

    def __init__(self, config: AllegroHandConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        kinematics = load_kinematics("allegro", config.side)
        self._spec = HandSpec.of(
            kinematics, watchdog_s=config.watchdog_s, speed=config.speed, side=config.side
        )
        self._wire = CanWire(
            config.interface,
            config.channel,
            port=config.port,
            capture=config.capture,
            about={"driver": "allegro"},
        )
        self._stiffness, self._damping = np.array(config.stiffness), np.array(config.damping)
        self._forget()

    @property
    def spec(self) -> HandSpec:
        return self._spec

    # -- Link ------------------------------------------------------------------------------

    def _link_open(self, timeout_s: float) -> None:
        self._forget()
        self._wire.open()
        self._wire.drain()
        self._meet(timeout_s)
        self._switch_off()  # A host that died may have left torque on.

    def _link_close(self) -> None:
        try:
            with contextlib.suppress(OSError):  # The link may be what failed.
                self._switch_off()
                self._wire.send(allegro.period(0))
        finally:
            self._wire.close()

    def _forget(self) -> None:
        self._heard: dict[int, allegro.Positions] = {}
        self._info: allegro.Info | None = None
        self._asked_s = self._sampled_s = self._period_set_s = -np.inf
        self._on = False
        self._sample: Sample | None = None
        self._hand_clock = FrameClock(PERIOD_MS * 1e-3)
        # A few periods: slower would take the damping's phase, faster would shake with the
        # last bit of the positions.
        self._differentiate = Differentiator(smoothing_s=0.006)

    def _meet(self, timeout_s: float) -> None:
        """Ask which hand it is, and refuse one that this driver does not know."""
        give_up_s = time.monotonic() + timeout_s
        while self._info is None:
            self._wire.send(allegro.ask(allegro.INFO))
            ask_again_s = min(give_up_s, time.monotonic() + 0.1)
            while self._info is None and time.monotonic() < ask_again_s:
                self._take(self._wire.receive(ask_again_s - time.monotonic()))
            if self._info is None and time.monotonic() >= give_up_s:
                raise TimeoutError("no hand answers on this bus")
        if self._info.generation != 4:
            raise ConfigError(
                f"{self}: this is an Allegro Hand V{self._info.generation}, whose motors take "
                "other numbers. This driver is for V4."
            )
        side = "left" if self._info.left else "right"
        if side != self._spec.side:
            raise ConfigError(f"{self}: this is a {side} hand. Set `side`.")

    # -- Samples ---------------------------------------------------------------------------

    def _poll(self) -> Sample | None:
        now_s = time.monotonic()
        if now_s - self._asked_s > INFO_S:
            self._asked_s = now_s
            self._wire.send(allegro.ask(allegro.INFO))
        if now_s - max(self._sampled_s, self._period_set_s) > SILENT_S:
            self._period_set_s = now_s
            self._wire.send(allegro.period(PERIOD_MS))
        give_up_s = now_s + ANSWER_S
        sample = None
        # Of the sets that piled up while this thread was held up, the newest counts.
        while frame := self._wire.receive(0.0 if sample else max(0.0, give_up_s - now_s)):
            self._take(frame)
            if len(self._heard) == allegro.N_FINGERS:
                sample = self._complete(frame.time_s)
            now_s = time.monotonic()
            if now_s > give_up_s:
                break
        if sample is None:
            self._heard.clear()  # So that no sample mixes what is far apart.
        return sample

    def _take(self, frame: CanFrame | None) -> None:
        said = allegro.parse(frame) if frame is not None else None
        if isinstance(said, allegro.Positions):
            self._heard[said.finger] = said
        elif isinstance(said, allegro.Info):
            self._info = said
            self._judge(said)

    def _judge(self, info: allegro.Info) -> None:
        """Raise what the hand complains about."""
        if info.too_hot:
            raise RuntimeError(
                f"the hand is too hot, {info.temperature} °C; switch it off and let it cool"
            )
        if info.internal_fault:
            raise RuntimeError("the hand reports an internal fault; switch its power off and on")
        if self._on and not info.servo_on:
            raise RuntimeError("the hand switched its servo off by itself; check its power supply")

    def _complete(self, frame_s: float) -> Sample:
        angles = [self._heard[finger].angles for finger in range(allegro.N_FINGERS)]
        self._heard.clear()
        positions = np.array(angles, dtype=np.float64).ravel()
        self._sampled_s = time.monotonic()
        self._sample = Sample(
            stamp_s=self.clock.now_s(),
            positions=positions,
            velocities=self._differentiate(self._hand_clock(frame_s), positions),
        )
        return self._sample

    # -- Torque ----------------------------------------------------------------------------

    def _switch_on(self, here: Vector) -> None:
        del here  # Held by the set points that follow within this cycle.
        info = self._switch(on=True)
        self._judge(info)
        if not info.servo_on:
            raise RuntimeError("the hand does not switch its servo on; check its power supply")
        self._on = True

    def _switch_off(self) -> None:
        self._on = False
        if self._switch(on=False).servo_on:
            raise RuntimeError("the hand does not switch its servo off; switch off its power")

    def _switch(self, *, on: bool) -> allegro.Info:
        """Switch the servo without torque, and return what the hand last said of it."""
        answer = None
        for _ in range(ATTEMPTS):
            self._send_torques(np.zeros(N_JOINTS))
            self._wire.send(allegro.servo(on=on))
            self._wire.send(allegro.ask(allegro.INFO))
            give_up_s = time.monotonic() + CONFIRM_S
            while (left_s := give_up_s - time.monotonic()) > 0:
                frame = self._wire.receive(left_s)
                said = allegro.parse(frame) if frame is not None else None
                if isinstance(said, allegro.Info):
                    answer = said
                    if said.servo_on == on:
                        return said
        if answer is None:
            raise TimeoutError("the hand does not say whether its servo is on")
        return answer

    def _send(self, setpoint: Vector) -> None:
        sample = self._sample
        if sample is None or self.clock.now_s() - self._fresh_s > OLD_S:
            self._send_torques(np.zeros(N_JOINTS))
            return
        error = setpoint - sample.positions
        self._send_torques(self._stiffness * error - self._damping * sample.velocities)

    def _send_torques(self, torques: Vector) -> None:
        pwm = allegro.duty(torques)
        for finger in range(allegro.N_FINGERS):
            first = finger * allegro.JOINTS_PER_FINGER
            self._wire.send(allegro.torque(finger, pwm[first : first + allegro.JOINTS_PER_FINGER]))
