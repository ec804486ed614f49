"""The process that holds ur_rtde, apart from the one that must not stand still.

ur_rtde is the client that robots in the field are driven with, so it is used as it is. But
its constructors hold the interpreter's lock, without a limit if the controller answers
half-way; ``servoStop`` waits 300 s for a controller that went silent; after a lost link it
connects again by itself and starts its program on the robot; and damaged data end the
process. Here, none of this reaches the hands, the policy or the recorder: whoever started
this process kills it when it is late, and the robot's own watchdog stops the arm.

``serve`` is the other end of ``UrArm``. They exchange tuples that begin with a verb:

    in   ("on", here, watchdog_hz) ("off",) ("clear", timeout_s): answered by "done" or "failed"
         ("servo", target)  ("quit",): not answered
    out  ("state", *State)  ("done",)  ("failed", text)  ("refused", text)  ("gone", text)
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import dashboard_client  # type: ignore[import-not-found]
import rtde_control  # type: ignore[import-not-found]
import rtde_receive  # type: ignore[import-not-found]

PLAYING = 2  # ``runtime_state`` of a program that runs.
RUNNING = 7  # ``robot_mode`` with power on and brakes released.
VARIABLES = [
    "timestamp",
    "actual_q",
    "actual_qd",
    "robot_mode",
    "runtime_state",
    "safety_status_bits",
    "target_speed_fraction",
]
REFUSED_S = 0.05  # The reason for refused set points arrives within this, on another link [s].
TOLD_S = 0.3  # A program that started or ended is told within this [s].
RETRY_S = 0.25  # Between two attempts to unlock [s].
PRIORITY = 20  # Above the loops, which tick less often; below the kernel's own threads (50).


class State(NamedTuple):
    """What the controller says of itself.

    Attributes:
        received_s: When it arrived, on the host's monotonic clock [s].
        timestamp: On the controller's clock [s].
        positions: [rad].
        velocities: [rad/s].
        robot_mode: ``RUNNING``, or the arm cannot move.
        runtime: ``PLAYING``, or no program runs.
        safety_bits: Bit 0 is normal, bit 1 reduced; see ``SAFETY`` for what stops the arm.
        speed_fraction: The speed slider on the pendant, 0 to 1.
    """

    received_s: float
    timestamp: float
    positions: list[float]
    velocities: list[float]
    robot_mode: int
    runtime: int
    safety_bits: int
    speed_fraction: float


# Bits of ``safety_status_bits``, the gravest first, with what a person must do.
SAFETY = {
    9: "safety fault: restart the controller's safety system on the pendant",
    8: "safety violation: restart the controller's safety system on the pendant",
    7: "emergency stop: release the button, power the arm on and release its brakes",
    6: "robot emergency stop: release the button, power the arm on and release its brakes",
    5: "system emergency stop: release it, power the arm on and release its brakes",
    3: "recovery mode: a joint is outside its safety limits, move it back on the pendant",
    11: "three-position enabling stop: hold the switch in its middle position",
    4: "safeguard stop: leave the guarded area and acknowledge on the pendant",
    2: "protective stop: see why, free the arm, then recover()",
    10: "stopped by its safety system: see the pendant",
}
PROTECTIVE_STOP = SAFETY[2]
MODEL = "UR5"  # What the dashboard of a UR5e answers; another size has other links and limits.
DASHBOARD_S = 1.0  # A controller in the same room answers within this [s].


def safety_trouble(bits: int) -> str | None:
    """Return what the safety system stopped the arm for, ``None`` if it did not."""
    return next((text for bit, text in SAFETY.items() if bits >> bit & 1), None)


class _Session:
    """One controller, as long as the process lives.

    Args:
        pipe: To whoever started the process.
        host: Address of the controller.
        rate_hz: Of the states, and so of the set points [1/s].
        servo: Lookahead [s] and gain of ``servoJ``.
    """

    def __init__(
        self, pipe: Connection, host: str, rate_hz: float, servo: tuple[float, float]
    ) -> None:
        self._pipe = pipe
        self._host = host
        self._rate_hz = rate_hz
        self._servo = servo
        self._receive: Any = rtde_receive.RTDEReceiveInterface(host, rate_hz, VARIABLES)
        self._control: Any = None
        self._jobs: dict[str, Callable[..., None]] = {
            "on": self._on,
            "off": self.switch_off,
            "clear": self._clear,
        }
        self._told: float | None = None
        self._refused_s: float | None = None

    def serve(self) -> None:
        """Carry out what is asked, and tell every state, until told to quit."""
        idle_s = min(0.25 / self._rate_hz, 0.002)
        while self._listen(idle_s):
            if not self._receive.isConnected() or (
                self._control is not None and not self._control.isConnected()
            ):
                # At once: a moment later ur_rtde would connect again by itself.
                self._pipe.send(("gone", "the controller closed the connection"))
                return
            self._tell()
        self.switch_off()

    def _listen(self, idle_s: float) -> bool:
        """Carry out what came within ``idle_s``. Returns whether to go on."""
        while self._pipe.poll(idle_s):
            idle_s = 0.0
            verb, *values = self._pipe.recv()
            if verb == "quit":
                return False
            if verb == "servo":
                self._move(*values)
                continue
            try:
                self._jobs[verb](*values)
            except Exception as error:  # noqa: BLE001  # ur_rtde raises anything; it is passed on.
                self._pipe.send(("failed", str(error) or type(error).__name__))
            else:
                self._pipe.send(("done",))
        return True

    def _state(self) -> State:
        """Return the newest state, all of it from one package."""
        receive = self._receive
        while True:
            timestamp = receive.getTimestamp()
            state = State(
                time.monotonic(),
                timestamp,
                receive.getActualQ(),
                receive.getActualQd(),
                receive.getRobotMode(),
                receive.getRuntimeState(),
                receive.getSafetyStatusBits(),
                receive.getTargetSpeedFraction(),
            )
            if receive.getTimestamp() == timestamp:
                return state

    def _tell(self) -> None:
        if self._receive.getTimestamp() == self._told:
            return
        state = self._state()
        self._told = state.timestamp
        self._pipe.send(("state", *state))  # No class: here it would be that of ``__main__``.

    # -- What is asked ---------------------------------------------------------------------

    def _on(self, here: list[float], watchdog_hz: float) -> None:
        state = self._state()
        trouble = safety_trouble(state.safety_bits)
        if trouble is not None:
            raise RuntimeError(trouble)
        if state.robot_mode != RUNNING:
            raise RuntimeError("the arm is not ready: power it on and release its brakes")
        # Ours, left over from a lost link, is about to be ended by its watchdog.
        if not self._is_told(playing=False, within_s=TOLD_S + 1 / watchdog_hz):
            raise RuntimeError("another program runs on the controller: stop it on the pendant")
        model = self._model()
        if model != MODEL:
            raise RuntimeError(f"the controller says it moves a {model}, not a {MODEL}e")
        # Uploads the control program and waits until it runs. It does not move the arm.
        self._control = rtde_control.RTDEControlInterface(self._host, self._rate_hz)
        self._refused_s = None
        if not self._control.setWatchdog(watchdog_hz):
            raise RuntimeError("the controller did not accept its watchdog")
        self._move(here)
        if self._refused_s is not None:
            raise RuntimeError("the controller refused to hold its position")
        # States come by another link: none that is told from here on may be an older one.
        if not self._is_told(playing=True):
            raise TimeoutError("the control program does not run")

    def _model(self) -> str:
        dashboard: Any = dashboard_client.DashboardClient(self._host)
        dashboard.connect(round(DASHBOARD_S * 1e3))
        try:
            return str(dashboard.getRobotModel()).strip()
        finally:
            dashboard.disconnect()

    def _move(self, target: list[float]) -> None:
        if self._control is None:
            return  # It was under way when the arm was switched off.
        lookahead_s, gain = self._servo
        # It returns False instead of raising. Speed and acceleration are not used.
        if self._control.servoJ(target, 0.0, 0.0, 1 / self._rate_hz, lookahead_s, gain):
            self._refused_s = None
            return
        self._refused_s = self._refused_s or time.monotonic()
        if time.monotonic() - self._refused_s > REFUSED_S:
            self._pipe.send(("refused", "the controller refuses set points: see the pendant"))

    def switch_off(self) -> None:
        """End the control program, so that the arm cannot move."""
        control, self._control = self._control, None
        if control is None:
            return
        # Closing takes half a second in which states must go on.
        closing = threading.Thread(target=control.disconnect, daemon=True)
        try:
            if control.isProgramRunning() or self._receive.getRuntimeState() == PLAYING:
                control.servoStop()
                control.stopScript()
                if not self._is_told(playing=False):
                    raise TimeoutError("the control program goes on although it was told to end")
        finally:
            closing.start()

    def _is_told(self, *, playing: bool, within_s: float = TOLD_S) -> bool:
        """Return whether the states say in time that a program runs, or that none does."""
        give_up_s = time.monotonic() + within_s
        while (self._receive.getRuntimeState() == PLAYING) is not playing:
            if time.monotonic() > give_up_s:
                return False
            time.sleep(0.001)
        return True

    def _clear(self, timeout_s: float) -> None:
        """Unlock a protective stop. The controller refuses for about 5 s after it."""
        dashboard: Any = dashboard_client.DashboardClient(self._host)
        refusal = ""
        give_up_s = time.monotonic() + timeout_s
        while (trouble := safety_trouble(self._receive.getSafetyStatusBits())) is not None:
            if trouble != PROTECTIVE_STOP:
                raise RuntimeError(trouble)
            if time.monotonic() > give_up_s:
                raise TimeoutError(refusal or "the protective stop was not unlocked in time")
            try:
                if not dashboard.isConnected():
                    dashboard.connect()
                dashboard.closeSafetyPopup()
                dashboard.unlockProtectiveStop()
            except Exception as error:  # noqa: BLE001  # ur_rtde raises anything; it is tried again.
                refusal = str(error)
            time.sleep(RETRY_S)


def serve(descriptor: int, host: str, rate_hz: float, servo: tuple[float, float]) -> None:
    """Be the session at the other end of ``descriptor`` until told to quit, or left alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started us.
    with contextlib.suppress(AttributeError, OSError):  # Where the system allows it.
        # Inherited by the threads of ur_rtde, which keep the controller's 250 Hz.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    with contextlib.suppress(OSError, EOFError), Connection(descriptor) as pipe:
        try:
            session = _Session(pipe, host, rate_hz, servo)
        except Exception as error:  # noqa: BLE001  # ur_rtde raises anything; it is passed on.
            pipe.send(("gone", str(error)))
            return
        try:
            session.serve()
        except (OSError, EOFError):
            session.switch_off()  # Nobody is there any more.


if __name__ == "__main__":
    serve(
        int(sys.argv[1]),
        sys.argv[2],
        float(sys.argv[3]),
        (float(sys.argv[4]), float(sys.argv[5])),
    )
    # Without the half seconds that ur_rtde's destructors take.
    os._exit(0)
