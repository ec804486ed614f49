"""The DexRobot DexHand021, over CAN-FD."""

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.hand.hand import Hand, HandSpec
from dexhil.drivers.joints import check_motion
from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.drivers.streamed import Differentiator, Sample, StreamedJoints
from dexhil.drivers.wire import dexhand
from dexhil.drivers.wire.can import CanFrame, CanWire, FrameClock

FEEDBACK_S = 0.01  # The fastest that the boards offer [s].
ANSWER_S = 0.03  # A round of all boards that is not complete by then is not waited for [s].
OLD_S = 0.05  # No sample holds angles that are this much older than its stamp [s].
ASK_AGAIN_S = 0.2  # Between attempts to make a board talk [s].

OFF_TIMES = 3  # No board confirms that it let go, so it is said more than once.


@dataclass(frozen=True, slots=True, kw_only=True)
class DexHand021Config:
    """How to build a ``DexHand021``.

    Attributes:
        interface: Kind of CAN-FD adapter, in python-can's words.
        channel: Which one.
        port: UDP port, for ``udp_multicast`` only, which is how the emulator is reached.
        side: Which hand it is.
        speed: Share of the joints' largest speeds to use at most.
        clear_stalls: Whether to go on when a finger stalls, as the maker's own program does.
            Otherwise a stall, which a firm grasp may be, is a fault.
        watchdog_s: It holds still when no command came for this long [s].
        capture: File to write every frame down in.
    """

    interface: str = "socketcan"
    channel: str = "can0"
    port: int | None = None
    side: Side = "right"
    speed: float = 1.0
    clear_stalls: bool = False
    watchdog_s: float = 0.2
    capture: Path | None = None

    def __post_init__(self) -> None:
        check_motion(self.speed, self.watchdog_s)


class DexHand021(StreamedJoints, Hand):
    """A DexHand021. Tested against an emulator, never on hardware.

    Its boards hold their angles by themselves and send how they are every 10 ms, which sets
    the pace. ``touch`` is the normal force on each fingertip, thumb first. Its fingertips
    measure tangential forces as well, but how their direction lies in the palm frame is not
    published, so there are no ``fingertip_forces``. A board that hears nothing holds its last
    angle, as far as is known.
    """

    config_type = DexHand021Config
    period_s = 0.0  # The hand sets the pace.

    def __init__(self, config: DexHand021Config, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        kinematics = load_kinematics("dexhand021", config.side)
        self._spec = HandSpec.of(
            kinematics, watchdog_s=config.watchdog_s, speed=config.speed, side=config.side
        )
        self._wire = CanWire(
            config.interface,
            config.channel,
            port=config.port,
            fd=True,
            capture=config.capture,
            about={"driver": "dexhand021"},
        )
        self._boards = dexhand.RIGHT_HAND if config.side == "right" else dexhand.LEFT_HAND
        self._clear_stalls = config.clear_stalls
        self._forget()

    @property
    def spec(self) -> HandSpec:
        return self._spec

    # -- Link ------------------------------------------------------------------------------

    def _link_open(self, timeout_s: float) -> None:
        del timeout_s  # Whoever waits for the first sample waits for the boards.
        self._forget()
        self._wire.open()
        self._wire.drain()
        self._switch_off()  # A host that died may have left it holding something.

    def _link_close(self) -> None:
        try:
            with contextlib.suppress(OSError):  # The link may be what failed.
                self._switch_off()
                self._ask_for_feedback(range(dexhand.N_BOARDS), enable=False)
        finally:
            self._wire.close()

    def _clear_errors(self) -> None:
        for board in range(dexhand.N_BOARDS):
            self._wire.send(dexhand.configure(dexhand.ClearError(board), self._boards))

    def _forget(self) -> None:
        self._heard: dict[int, tuple[float, dexhand.Feedback]] = {}
        self._heard_s = [-np.inf] * dexhand.N_BOARDS
        self._asked_s = -np.inf
        self._hand_clock = FrameClock(FEEDBACK_S)
        self._differentiate = Differentiator()

    def _ask_for_feedback(self, boards: Iterable[int], *, enable: bool) -> None:
        periodic = dexhand.FeedbackMode.PERIODIC
        for board in boards:
            what = dexhand.FeedbackConfig(board, periodic, FEEDBACK_S, enable)
            self._wire.send(dexhand.configure(what, self._boards))

    # -- Samples ---------------------------------------------------------------------------

    def _poll(self) -> Sample | None:
        now_s = time.monotonic()
        self._wake_the_silent(now_s)
        give_up_s = now_s + ANSWER_S
        sample = None
        # Of the rounds that piled up while this thread was held up, the newest counts.
        while frame := self._wire.receive(0.0 if sample else max(0.0, give_up_s - now_s)):
            now_s = time.monotonic()
            self._take(frame, now_s)
            if len(self._heard) == dexhand.N_BOARDS:
                sample = self._complete(frame.time_s)
            if now_s > give_up_s:
                break
        return sample

    def _wake_the_silent(self, now_s: float) -> None:
        """Ask boards for feedback that were never asked, or that restarted."""
        silent = [board for board, at_s in enumerate(self._heard_s) if now_s - at_s > ASK_AGAIN_S]
        if silent and now_s - self._asked_s > ASK_AGAIN_S:
            self._asked_s = now_s
            self._ask_for_feedback(silent, enable=True)
            if len(silent) < dexhand.N_BOARDS:
                motors = [" and ".join(dexhand.MOTORS[board]) for board in silent]
                self._trouble = f"nothing came back from {', '.join(motors)}"

    def _take(self, frame: CanFrame, now_s: float) -> None:
        said = dexhand.parse(frame, self._boards)
        if isinstance(said, dexhand.Feedback):
            self._heard[said.board] = (now_s, said)
            self._heard_s[said.board] = now_s
        elif isinstance(said, dexhand.BoardError):
            self._judge(said)

    def _judge(self, error: dexhand.BoardError) -> None:
        """Raise what a board complains about, unless it is a stall that may be."""
        if not error.only_stalls:
            raise RuntimeError(f"the hand reports {error}; recover it once the cause is gone")
        if not self._clear_stalls:
            raise RuntimeError(
                f"the hand reports {error}; free the finger and recover, or set "
                "clear_stalls = true to go on gripping"
            )
        self._wire.send(dexhand.configure(dexhand.ClearError(error.board), self._boards))

    def _complete(self, frame_s: float) -> Sample | None:
        now_s = time.monotonic()
        self._heard = {
            board: heard for board, heard in self._heard.items() if now_s - heard[0] <= OLD_S
        }
        if len(self._heard) < dexhand.N_BOARDS:
            return None
        boards = [self._heard[board][1] for board in range(dexhand.N_BOARDS)]
        self._heard = {}
        positions = np.array([angle for board in boards for angle in board.angles])
        return Sample(
            stamp_s=self.clock.now_s(),
            positions=positions,
            velocities=self._differentiate(self._hand_clock(frame_s), positions),
            extras={"touch": _touch(boards), "motor_currents": _currents(boards)},
        )

    # -- Motion ----------------------------------------------------------------------------

    def _switch_on(self, here: Vector) -> None:
        self._send(here)

    def _switch_off(self) -> None:
        for _ in range(OFF_TIMES):
            self._command(dexhand.Mode.ZERO_TORQUE, np.zeros(self._spec.n_joints))

    def _send(self, setpoint: Vector) -> None:
        self._command(dexhand.Mode.CASCADED_PID, setpoint)

    def _command(self, mode: dexhand.Mode, targets: Vector) -> None:
        for board, (first, second) in enumerate(targets.reshape(-1, 2)):
            # The motors named are those that take the command, also the one to let go.
            what = dexhand.Command(board, mode, dexhand.BOTH, (float(first), float(second)))
            self._wire.send(dexhand.command(what, self._boards))


def _touch(boards: list[dexhand.Feedback]) -> Vector | None:
    """Normal forces, if every fingertip measures one [N]. Shape (5,)."""
    tips = [boards[board].tactile for board in dexhand.TACTILE_BOARDS]
    forces = [tip.normal for tip in tips if tip is not None]
    return np.array(forces) if len(forces) == len(tips) else None


def _currents(boards: list[dexhand.Feedback]) -> Vector:
    """Of the motors, in the order of the joints [A]. Shape (12,)."""
    return np.array([current for board in boards for current in board.currents])
