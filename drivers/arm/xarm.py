"""A UFACTORY xArm7, through the maker's ``xarm-python-sdk``."""

import contextlib
import io
import ipaddress
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexhil.drivers.arm.arm import Arm, ArmSpec
from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.joints import check_motion
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.streamed import Differentiator, Sample, StreamedJoints
from dexhil.drivers.wire.sockets import TcpWire
from dexhil.drivers.wire.xarm import (
    CONTROL_PORT,
    N_JOINTS,
    REPORT_PORT,
    Mode,
    Motion,
    Report,
    ReportStream,
)

with contextlib.redirect_stdout(io.StringIO()):  # It prints its version.
    from xarm.core.config.x_code import ControllerError, ControllerWarn
    from xarm.core.config.x_config import XCONF
    from xarm.core.utils import log as sdk_log
    from xarm.x3 import XArm as SdkArm
    from xarm.x3.code import APIState

log = logging.getLogger(__name__)

REPORT_WAIT_S = 0.03  # Reports come every 10 ms; after this long one is late [s].
SERVO_ANSWER_S = 0.05  # The controller answers a set point within about a millisecond [s].
ANSWER_S = 0.5  # Other commands may take it longer [s].
DEAF_FAULT_S = 0.3  # Set points without an answer for this long are a fault [s].
WATCH_S = 0.25  # Between looks for errors while it is not enabled [s].
FOLLOW_S = 2.0  # Longest from switching on until its reports say that it follows [s].

_NO_ANSWER = (
    APIState.RES_TIMEOUT,
    APIState.RES_LENGTH_ERROR,
    APIState.CMD_NUM_ERROR,
    APIState.CMD_PROT_ERROR,
    APIState.FUN_ERROR,
)
_GONE = (APIState.NOT_CONNECTED, APIState.NO_TCP)
_CODES = {code: name for name, code in vars(APIState).items() if isinstance(code, int)}
_MODEL = f"{XCONF.Robot.Axis.XARM7},{XCONF.Robot.Type.XARM7_X4},"


@dataclass(frozen=True, slots=True, kw_only=True)
class XArmConfig:
    """How to reach an ``XArm``.

    Attributes:
        host: IPv4 address of the controller; a label on it says which.
        control_port: Where it takes commands.
        report_port: Where it reports a hundred times a second.
        speed: Share of the joints' greatest speed to use, above 0, up to 1.
        watchdog_s: The arm holds still when no command came for this long [s].
        capture: File to write all reports down in.
    """

    host: str
    control_port: int = CONTROL_PORT
    report_port: int = REPORT_PORT
    speed: float = 0.5
    watchdog_s: float = 0.2
    capture: Path | None = None

    def __post_init__(self) -> None:
        try:
            ipaddress.IPv4Address(self.host)
        except ValueError as error:
            # The SDK would take it for a serial port.
            raise ValueError(f"host is {self.host!r}, must be like 192.168.1.197") from error
        for port in (self.control_port, self.report_port):
            if not 0 < port < 65536:
                raise ValueError(f"port is {port}, must be within 1 to 65535")
        check_motion(self.speed, self.watchdog_s)


class XArm(StreamedJoints, Arm):
    """An xArm7 in servo mode. Tested against an emulator, never on hardware.

    Each real-time report is answered by one set point, so the controller's own 100 Hz
    clock paces the stream. Enabling opens the brakes; disabling stops the arm, which then
    holds by its servos and takes no set points until enabled again. Brakes close when the
    power goes. Efforts are what the controller estimates from motor currents.

    In servo mode the controller has no watchdog of its own: when this program dies, the arm
    goes to the last set point, at most one step away, and holds there. An error that the
    controller has latched is cleared by ``recover``, never without being asked.
    """

    config_type = XArmConfig
    period_s = 0.0  # The reports pace it.
    ramp_s = 1 / 30  # Policies and people steer at 30 Hz.

    def __init__(self, config: XArmConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self._config = config
        kinematics = load_kinematics("xarm7")
        self._spec = ArmSpec.of(kinematics, watchdog_s=config.watchdog_s, speed=config.speed)
        about = {"driver": "xarm", "options": {"host": config.host}}
        self._wire = TcpWire(config.host, config.report_port, capture=config.capture, about=about)
        self._client: _Client | None = None
        self._warning = 0
        self._begin()

    def _begin(self) -> None:
        """Forget what an earlier connection left."""
        self._reports = ReportStream()
        self._differentiate = Differentiator()
        self._follows = False
        self._answered_s = self.clock.now_s()
        self._watched_s = -WATCH_S  # At the first opportunity.

    @property
    def spec(self) -> ArmSpec:
        return self._spec

    # -- Link ----------------------------------------------------------------

    def _link_open(self, timeout_s: float) -> None:
        del timeout_s  # Wire and client know how long an answer may take them.
        self._begin()
        self._wire.open()
        self._client = client = _Client(self._config.host, self._config.control_port)
        client.open()
        # Where the SDK cannot read this, it takes the arm for an xArm7.
        if not client.version.startswith(_MODEL):
            raise ConfigError(
                f"{self}: the arm at {self._config.host} calls itself {client.version!r}, expected "
                f"joints and type {_MODEL!r}, which is an xArm7."
            )
        code, currents = client.get_report_tau_or_i()
        self._reports_torques = code == APIState.NORMAL and not currents

    def _link_close(self) -> None:
        client, self._client = self._client, None
        try:
            if client is not None:
                client.close()
        finally:
            self._wire.close()

    def _poll(self) -> Sample | None:
        data = self._wire.receive(REPORT_WAIT_S)
        stamp_s = self.clock.now_s()
        reports = self._reports.feed(data)
        if self._follows:
            if reports:
                self._require_following(reports[-1])
        elif stamp_s - self._watched_s > WATCH_S:
            self._watched_s = stamp_s
            self._raise_errors()
        if not reports:
            if data:
                self._trouble = "its reports make no sense"
            return None
        positions = reports[-1].positions
        return Sample(
            stamp_s=stamp_s,
            positions=positions,
            velocities=self._differentiate(stamp_s, positions),
            efforts=reports[-1].torques if self._reports_torques else None,
        )

    # -- Motion --------------------------------------------------------------

    def _switch_on(self, here: Vector) -> None:
        del here  # The controller holds where it is until it gets a set point.
        client = self._opened()
        self._raise_errors()
        with client.patience():
            _check(client.motion_enable(enable=True), "opening the brakes")
            _check(client.set_mode(Mode.SERVO), "servo mode")
            _check(client.set_state(Motion.SPORT), "becoming ready")
        self._await_following()
        self._follows = True
        self._answered_s = self.clock.now_s()

    def _switch_off(self) -> None:
        self._follows = False
        client = self._client
        if client is None:
            return
        with client.patience():
            _check(client.set_state(Motion.STOPPED), "stopping")
            give_up_s = self.clock.now_s() + ANSWER_S
            while True:
                code, state = client.get_state()
                _check(code, "asking whether it stopped")
                if state in (Motion.STOPPED, Motion.CHANGED):
                    return
                if self.clock.now_s() > give_up_s:
                    raise RuntimeError(f"it does not stop (state {state})")
                self.clock.sleep(0.01)

    def _send(self, setpoint: Vector) -> None:
        code = self._opened().set_servo_angle_j(setpoint.tolist(), is_radian=True)
        now_s = self.clock.now_s()
        if code in _NO_ANSWER:
            # One lost answer is no harm: the next set point says where to go just as well.
            if (deaf_s := now_s - self._answered_s) > DEAF_FAULT_S:
                raise ConnectionError(f"set points had no answer for {deaf_s * 1e3:.0f} ms")
            return
        if code in (APIState.HAS_ERROR, APIState.NOT_READY, APIState.STATE_NOT_READY):
            self._raise_errors()
        _check(code, "a set point")
        self._answered_s = now_s

    def _await_following(self) -> None:
        """Wait until the reports say that set points will be followed."""
        give_up_s = self.clock.now_s() + FOLLOW_S
        while True:
            for report in self._reports.feed(self._wire.receive(REPORT_WAIT_S)):
                if report.mode == Mode.SERVO and report.state <= Motion.STANDBY:
                    return
                if self.clock.now_s() > give_up_s:
                    self._require_following(report)
            if self.clock.now_s() > give_up_s + REPORT_WAIT_S:
                raise TimeoutError(f"no report for {FOLLOW_S:g} s after switching on")

    # -- Trouble -------------------------------------------------------------

    def _clear_errors(self) -> None:
        client = self._opened()
        with client.patience():
            for code, what in (
                (client.clean_error(), "clearing its error"),
                (client.clean_warn(), "clearing its warning"),
            ):
                if code != APIState.HAS_ERROR:  # Which one is said below.
                    _check(code, what)
            self._raise_errors()

    def _warnings(self) -> tuple[str, ...]:
        warnings = super()._warnings()
        if self._warning:
            title = ControllerWarn(self._warning).title["en"]
            warnings += (f"controller warning {self._warning}: {title}",)
        return warnings

    def _require_following(self, report: Report) -> None:
        if report.mode == Mode.SERVO and report.state <= Motion.STANDBY:
            return
        self._raise_errors()
        if report.state == Motion.PAUSED:
            raise RuntimeError("another program or a button paused it")
        if report.mode != Mode.SERVO:
            raise RuntimeError(f"another program switched it to mode {report.mode}")
        raise RuntimeError(f"another program or a button stopped it (state {report.state})")

    def _raise_errors(self) -> None:
        """Raise the error that the controller has latched, if any, in the maker's words."""
        code, found = self._opened().get_err_warn_code()
        if code in _NO_ANSWER:
            return  # That it is deaf shows elsewhere.
        _check(code, "asking for errors")
        error, self._warning = found
        if error:
            known = ControllerError(error)
            what = known.title["en"].strip(" .")
            advice = known.description["en"].strip() or "See the maker's manual."
            raise RuntimeError(f"controller error {error}: {what}. {advice} Then call recover()")

    def _opened(self) -> "_Client":
        if self._client is None:
            raise ConnectionError("the control connection is closed")
        return self._client


def _check(code: int, what: str) -> None:
    """Raise what a return code of the SDK means. A warning is no reason to stop."""
    if code in (APIState.NORMAL, APIState.HAS_WARN):
        return
    if code in _GONE:
        raise ConnectionError(f"the control connection is gone (at {what})")
    if code in _NO_ANSWER:
        raise TimeoutError(f"no answer to {what}")
    raise RuntimeError(f"it refused {what}: {_CODES.get(code, 'unknown code')} ({code})")


class _Client(SdkArm):  # type: ignore[misc]  # The SDK has no types.
    """The maker's client, made fit to be a part of a program.

    It opens no report connection of its own: there, nobody could say when a report came.
    It tries once instead of for minutes, takes any port, lets go of every thread, and
    leaves nothing of the process changed.

    Args:
        host: IPv4 address.
        control_port: Where the controller takes commands.
    """

    # The SDK reads the port from a class; two arms may be opened at a time.
    _opening = threading.Lock()

    def __init__(self, host: str, control_port: int) -> None:
        super().__init__(
            host, is_radian=True, do_not_open=True, enable_report=False, timed_comm=False,
            forbid_uds=True, axis=N_JOINTS,
        )  # fmt: skip
        self._control_port = control_port

    def open(self) -> None:
        """Connect, and ask which arm it is."""
        where = f"{self._port}:{self._control_port}"
        with self._opening:
            timeout_s = socket.getdefaulttimeout()
            usual, XCONF.SocketConf.TCP_CONTROL_PORT = (
                XCONF.SocketConf.TCP_CONTROL_PORT,
                self._control_port,
            )
            try:
                self.connect()
            except Exception as error:  # The SDK raises nothing else.
                raise ConnectionError(f"no xArm controller answers at {where}") from error
            finally:
                XCONF.SocketConf.TCP_CONTROL_PORT = usual
                socket.setdefaulttimeout(timeout_s)  # The SDK changes everybody's.
        self.set_timeout(SERVO_ANSWER_S)

    def close(self) -> None:
        """Disconnect, and wait for what the SDK started. Repeating does nothing."""
        self.disconnect()
        waiter = self._feedback_thread
        if waiter is not None:
            # It looks up once a second, or when something came: here, nothing of interest.
            self._feedback_que.put(bytes(16))
            waiter.join(timeout=2.0)

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Wait longer for answers, in this block."""
        self.set_timeout(ANSWER_S)
        try:
            yield
        finally:
            self.set_timeout(SERVO_ANSWER_S)

    def set_mode(self, mode: int = 0, detection_param: int = 0) -> int:
        code: int = super().set_mode(int(mode), detection_param)
        if code == APIState.NORMAL:
            self._mode = int(mode)  # It would learn this from its own reports.
        return code

    def _check_version(self, is_first: bool = False) -> int:
        # For the first time, the SDK would ask for minutes, print, and clear warnings.
        del is_first
        self.set_timeout(ANSWER_S)
        code: int = super()._check_version(is_first=False)
        return code if self._version else APIState.NOT_CONNECTED


class _ToDebug(logging.Handler):
    """Says in our log what the SDK would print: what matters of it is raised anyway."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("SDK: %s", record.getMessage())


def _silence(*loggers: Any) -> None:
    for each in loggers:
        each.handlers[:] = [_ToDebug()]
        each.propagate = False


_silence(sdk_log.logger, sdk_log.origin_logger)
