"""LEAP hand: sixteen Dynamixel XL330-M288 or XC330-M288 motors on one USB adapter."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.hand.dynamixel import MotorBus, NoAnswerError, Register, persist
from dexhil.drivers.hand.hand import Hand, HandSpec
from dexhil.drivers.joints import check_motion
from dexhil.drivers.models.kinematics import Kinematics, Side, load_kinematics
from dexhil.drivers.streamed import Sample, StreamedJoints
from dexhil.drivers.wire.serial import SerialWire

log = logging.getLogger(__name__)

# Control table of XL330-M288-T and XC330-M288-T: ROBOTIS e-Manual.
RETURN_DELAY = Register("return delay", 9, 1)  # 2 us.
MODE = Register("operating mode", 11, 1)
TORQUE = Register("torque", 64, 1)
STATUS_LEVEL = Register("status return level", 68, 1)
HARDWARE_ERROR = Register("hardware error", 70, 1)
D_GAIN = Register("position D gain", 80, 2)
I_GAIN = Register("position I gain", 82, 2)
P_GAIN = Register("position P gain", 84, 2)
WATCHDOG = Register("bus watchdog", 98, 1)  # 20 ms; 255 once it has stopped the motor.
GOAL_CURRENT = Register("goal current", 102, 2)  # [mA]
PROFILE_ACCELERATION = Register("profile acceleration", 108, 4)  # 0 is no profile.
PROFILE_VELOCITY = Register("profile velocity", 112, 4)
GOAL_POSITION = Register("goal position", 116, 4)
IDENTITY_SIZE = 11  # Model (u16), firmware at 6, drive mode at 10 [byte].
PRESENT = 126  # Current, velocity, position, one after the other.
PRESENT_TYPE = np.dtype([("current", "<i2"), ("velocity", "<i4"), ("position", "<i4")])

CURRENT_BASED_POSITION = 5  # Goes to a position with no more than the goal current.
REVERSED, TORQUE_BY_GOAL = 0x01, 0x08  # Bits of the drive mode.
FAST_FIRMWARE = 46  # The first that knows the fast sync read.
CENTER = 2048  # The tick at which a finger is straight: 0 rad in the kinematic table.
RAD_PER_TICK = 2 * np.pi / 4096
VELOCITY_UNIT = 0.229 * 2 * np.pi / 60  # [rad/s]
WATCHDOG_UNIT_S = 0.02
TRIPPED = 255
HARDWARE_ERRORS = {
    0: "wrong supply voltage",
    2: "overheating",
    3: "a broken encoder",
    4: "an electrical shock or too little power",
    5: "overload",
}

SIDE_JOINTS = ("0", "4", "8")  # They carry the least, and swing at the others' gains.
SIDE_SHARE = 0.75  # Of the gains: 450 of 600 and 150 of 200, as the maker of the hand has it.
CHECK_S = 0.5  # How often the motors are asked whether they still hold [s].
REBOOT_S = 2.0  # A motor starts in about 0.3 s [s].
NEAR = 0.1  # Motors that stopped by themselves this near to their goals may go on [rad].


@dataclass(frozen=True, slots=True)
class MotorModel:
    """A motor that LEAP hands are built of.

    Attributes:
        name: As printed on it.
        current: Goal current by default [mA]: the value of the hand's maker.
        torque_per_current: Stall torque by stall current at 5 V [N·m/mA]: ROBOTIS e-Manual.
    """

    name: str
    current: int
    torque_per_current: float


MODELS = {
    1200: MotorModel("XL330-M288", 350, 0.52 / 1470),
    1240: MotorModel("XC330-M288", 550, 0.93 / 1800),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeapHandConfig:
    """How to reach a ``LeapHand``.

    Attributes:
        port: Of the USB adapter, best as ``/dev/serial/by-id/usb-FTDI_...``.
        baud: That the motors are set to [bit/s].
        side: Which hand it is.
        rate_hz: Exchanges with the motors [1/s]. Each is one read and, when enabled, one write
            of all motors. The maker advises to stay below 90 where motors answer one by one.
        speed: Share of its full speed that it may use, above 0 to 1.
        p_gain: Of the motors' position control. Side joints use three quarters of it.
        i_gain: The same.
        d_gain: The same. Side joints use three quarters of it.
        goal_current: Most that a motor may draw to reach its goal [mA]. ``None`` is 350 for
            XL330 and 550 for XC330 motors. Lower it where motors overheat.
        watchdog_s: It holds still when no command came for this long [s].
        bus_watchdog_s: The motors stop by themselves when the line is silent for this long [s].
        capture: File to write every byte down in.
    """

    port: str
    baud: int = 4_000_000
    side: Side = "right"
    rate_hz: float = 100.0
    speed: float = 0.5
    p_gain: int = 600
    i_gain: int = 0
    d_gain: int = 200
    goal_current: int | None = None
    watchdog_s: float = 0.2
    bus_watchdog_s: float = 0.3
    capture: Path | None = None

    def __post_init__(self) -> None:
        if not 10 <= self.rate_hz <= 400:
            raise ValueError(f"rate_hz is {self.rate_hz:g} Hz, allowed 10 to 400 Hz")
        check_motion(self.speed, self.watchdog_s)
        for name in ("p_gain", "i_gain", "d_gain"):
            if not 0 <= getattr(self, name) <= 16383:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed 0 to 16383")
        if self.goal_current is not None and not 0 < self.goal_current <= 1750:
            raise ValueError(f"goal_current is {self.goal_current} mA, allowed above 0 to 1750 mA")
        # Below, an answer that comes late would stop the hand; above, the register is full.
        if not 0.1 <= self.bus_watchdog_s <= 2.54:
            raise ValueError(f"bus_watchdog_s is {self.bus_watchdog_s:g} s, allowed 0.1 to 2.54 s")


class LeapHand(StreamedJoints, Hand):
    """A LEAP hand. Tested against an emulator, never on hardware.

    Joints are named by their motors' ids. ``joint_efforts`` are estimates: the motors measure
    current, and current times stall torque by stall current leaves out the friction of the
    gears, so expect an error of a third and more at low loads.

    Disabling switches the torque off: the fingers go limp and let go of what they hold. When
    this computer falls silent instead, the motors' own watchdog stops them where they are, and
    they keep their torque. An FTDI adapter keeps answers back for 16 ms unless its
    ``latency_timer`` is set to 1, and then 100 Hz cannot be reached.
    """

    config_type = LeapHandConfig

    def __init__(self, config: LeapHandConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self._config = config
        self.period_s = 1 / config.rate_hz
        table = load_kinematics("leap", config.side)
        self._spec = HandSpec.of(
            table, watchdog_s=config.watchdog_s, speed=config.speed, side=config.side
        )
        self._names = motor_names(table)
        wire = SerialWire(config.port, config.baud, capture=config.capture)
        self._bus = MotorBus(wire, config.baud, self._names)
        self._models: list[MotorModel] = []
        self._goals = np.zeros(self._spec.n_joints)
        self._on = self._blamed = False
        self._heard_s = self._check_due_s = 0.0

    @property
    def spec(self) -> HandSpec:
        return self._spec

    # -- Link ----------------------------------------------------------------------------

    def _link_open(self, timeout_s: float) -> None:
        self._on = self._blamed = False
        self._bus.open()
        # Motors told to answer nothing, or only pings, look dead.
        self._bus.write_all(STATUS_LEVEL, self._each(2))
        identities = self._find_motors(time.monotonic() + timeout_s)
        self._models = [self._checked(motor, identities[motor]) for motor in self._bus.ids]
        self._bus.fast = all(each[6] >= FAST_FIRMWARE for each in identities.values())
        self._torque_per_current = np.array([model.torque_per_current for model in self._models])

    def _link_close(self) -> None:
        self._bus.close()

    def _find_motors(self, give_up_s: float) -> dict[int, bytes]:
        """Return what each motor says of itself. It may be starting, or its answer be lost."""
        found: dict[int, bytes] = {}
        while True:
            for motor in self._bus.ids:
                if motor not in found:
                    try:
                        found[motor] = self._bus.read(motor, 0, IDENTITY_SIZE)
                    except NoAnswerError:
                        continue
            missing = [motor for motor in self._bus.ids if motor not in found]
            if not missing:
                return found
            if time.monotonic() > give_up_s:
                raise ConnectionError(self._explain_missing(missing))

    def _explain_missing(self, missing: Sequence[int]) -> str:
        config = self._config
        if len(missing) == len(self._bus.ids):
            return (
                f"no motor answers on {config.port} at {config.baud} bit/s; new motors "
                "come with 57600 bit/s, and all with the same id"
            )
        return (
            f"{self._list(missing)} did not answer, the other {len(self._bus.ids) - len(missing)} "
            "did; look at cable, id and baud rate"
        )

    def _checked(self, motor: int, identity: bytes) -> MotorModel:
        number, drive_mode = int.from_bytes(identity[:2], "little"), identity[10]
        if number not in MODELS:
            known = " or ".join(f"{each} ({model.name})" for each, model in MODELS.items())
            raise ValueError(f"{self._names[motor]} is of model {number}, expected {known}")
        if drive_mode & (REVERSED | TORQUE_BY_GOAL):
            raise ValueError(
                f"{self._names[motor]} has drive mode {drive_mode}, expected 0: it would run "
                "backwards (bit 0) or switch its torque on when told a goal (bit 3)"
            )
        return MODELS[number]

    # -- Exchange ------------------------------------------------------------------------

    def _poll(self) -> Sample | None:
        try:
            reading = self._bus.read_all(PRESENT, PRESENT_TYPE.itemsize)
            stamp_s = self.clock.now_s()
            if reading.alerts:
                raise RuntimeError(self._explain_alerts(reading.alerts))
            present = np.frombuffer(b"".join(reading.data), PRESENT_TYPE)
            positions = (present["position"] - float(CENTER)) * RAD_PER_TICK
            self._check_motors(positions)
        except NoAnswerError as error:
            # A silent motor that is asked first silences all: remember which one it was.
            if error.motor is not None or not self._blamed:
                self._trouble = str(error)
            self._blamed = self._blamed or error.motor is not None
            return None
        self._blamed = False
        return Sample(
            stamp_s=stamp_s,
            positions=positions,
            velocities=present["velocity"] * VELOCITY_UNIT,
            efforts=present["current"] * self._torque_per_current,
        )

    def _send(self, setpoint: Vector) -> None:
        self._goals = setpoint
        self._bus.write_all(GOAL_POSITION, to_ticks(setpoint))

    def _check_motors(self, positions: Vector) -> None:
        """See now and then, and after every silence of ours, that the motors still obey."""
        if not self._on:
            return
        now_s = time.monotonic()
        if now_s - self._heard_s > 0.5 * self._config.bus_watchdog_s:
            self._check_due_s = now_s
        self._heard_s = now_s
        if now_s < self._check_due_s:
            return
        span = WATCHDOG.address - TORQUE.address + 1
        rows = self._bus.read_all(TORQUE.address, span).data
        self._check_due_s = now_s + CHECK_S
        limp = [motor for motor, row in zip(self._bus.ids, rows, strict=True) if not row[0]]
        if limp:
            raise RuntimeError(
                f"{self._list(limp)} lost torque by itself, as after a dip of its supply"
            )
        if any(row[-1] == TRIPPED for row in rows):
            self._go_on(positions)

    def _go_on(self, positions: Vector) -> None:
        """Have motors that their watchdog stopped move again, unless that would be a leap."""
        joint = int(np.argmax(np.abs(self._goals - positions)))
        if abs(self._goals[joint] - positions[joint]) > NEAR:
            raise RuntimeError(
                f"the motors stopped by themselves after {self._config.bus_watchdog_s:g} s of "
                f"silence, joint {self._spec.joint_names[joint]} "
                f"{abs(self._goals[joint] - positions[joint]):.2f} rad from its goal"
            )
        log.warning("%s: the line was silent and the motors stopped; they go on", self)
        self._arm_watchdog()

    # -- Drives --------------------------------------------------------------------------

    def _switch_on(self, here: Vector) -> None:
        bus, config = self._bus, self._config
        bus.set_all(WATCHDOG, self._each(0))  # A motor that it stopped takes no goal.
        self._configure_eeprom()
        share = [SIDE_SHARE if name in SIDE_JOINTS else 1.0 for name in self._spec.joint_names]
        bus.set_all(P_GAIN, [round(config.p_gain * each) for each in share])
        bus.set_all(I_GAIN, self._each(config.i_gain))
        bus.set_all(D_GAIN, [round(config.d_gain * each) for each in share])
        bus.set_all(GOAL_CURRENT, [config.goal_current or each.current for each in self._models])
        # Set points come at limited speed already.
        bus.set_all(PROFILE_ACCELERATION, self._each(0))
        bus.set_all(PROFILE_VELOCITY, self._each(0))
        bus.set_all(GOAL_POSITION, to_ticks(here))
        bus.set_all(TORQUE, self._each(1))
        self._arm_watchdog()
        self._goals = here
        self._heard_s = time.monotonic()
        self._check_due_s = self._heard_s + CHECK_S
        self._on = True

    def _configure_eeprom(self) -> None:
        """Set what a motor keeps without power, only if it differs: such memory wears out."""
        size = MODE.address - RETURN_DELAY.address + 1

        def configure() -> None:
            rows = self._bus.read_all(RETURN_DELAY.address, size).data
            if all((row[0], row[-1]) == (0, CURRENT_BASED_POSITION) for row in rows):
                return
            self._bus.set_all(TORQUE, self._each(0))  # It is locked while the torque is on.
            self._bus.set_all(RETURN_DELAY, self._each(0))
            self._bus.set_all(MODE, self._each(CURRENT_BASED_POSITION))

        persist(configure)

    def _arm_watchdog(self) -> None:
        self._bus.set_all(WATCHDOG, self._each(0))
        self._bus.set_all(
            WATCHDOG, self._each(round(self._config.bus_watchdog_s / WATCHDOG_UNIT_S))
        )

    def _switch_off(self) -> None:
        self._on = False
        self._bus.set_all(TORQUE, self._each(0))

    def _clear_errors(self) -> None:
        """Restart the motors that have latched an error: nothing else clears it."""
        failed = [motor for motor in self._bus.ids if self._hardware_error(motor)]
        for motor in failed:
            log.warning("%s: restarting %s", self, self._names[motor])
            self._bus.reboot(motor)
        give_up_s = time.monotonic() + REBOOT_S
        for motor in failed:
            while bits := self._hardware_error(motor):
                if time.monotonic() > give_up_s:
                    raise RuntimeError(
                        f"{self._names[motor]} still reports {explain(bits)} after a restart"
                    )

    def _hardware_error(self, motor: int) -> int:
        """Return the bits of what a motor has latched, waiting for it if it is starting."""
        register = HARDWARE_ERROR
        return persist(lambda: self._bus.read(motor, register.address, register.size))[0]

    # -- Words ---------------------------------------------------------------------------

    def _explain_alerts(self, motors: Sequence[int]) -> str:
        reports = []
        for motor in motors:
            try:
                what = explain(self._hardware_error(motor))
            except NoAnswerError:
                what = "a hardware error"
            reports.append(f"{self._names[motor]} reports {what}")
        return " and ".join(reports) + "; only a restart by recover() clears it"

    def _list(self, motors: Sequence[int]) -> str:
        return ", ".join(self._names[motor] for motor in motors)

    def _each(self, value: int) -> list[int]:
        return [value] * self._spec.n_joints


def to_ticks(positions: Vector) -> list[int]:
    """Return where the motors shall go, in ticks, given joint positions [rad]."""
    ticks: list[int] = np.rint(CENTER + positions / RAD_PER_TICK).astype(int).tolist()
    return ticks


def motor_names(table: Kinematics) -> dict[int, str]:
    """Return what a person calls each motor, by id, in the order of the joints."""
    fingers = {joint: finger for finger, chain in table.chains.items() for joint in chain}
    return {
        int(name): f"motor {name} (joint {name}, {fingers[name]})" for name in table.joint_names
    }


def explain(bits: int) -> str:
    """Return in words what the bits of a hardware error say."""
    known = [text for bit, text in HARDWARE_ERRORS.items() if bits >> bit & 1]
    return " and ".join(known) or f"hardware error {bits}"
