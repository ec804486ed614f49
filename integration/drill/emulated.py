"""Drills on a rig of real drivers in real time, with emulators at the far ends of their wires."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from dexhil.drivers.clock import MonotonicClock
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import DeviceError
from dexhil.integration.drill.drill import ANYBODY, ARM, HAND, POLICY, Fault, Hurt
from dexhil.integration.drill.policy import DrilledPolicy
from dexhil.integration.drill.simulated import PROMISED, SILENCE_S, begin_far, say_nonsense
from dexhil.integration.drill.stage import Player, Stage
from dexhil.integration.emulation import rig_table
from dexhil.integration.recorder import open_dataset
from dexhil.integration.rig import Rig, build_rig
from dexhil.policy.process import ProcessPolicy
from dexhil.teleop.schedule import run_threads

EMULATORS = ("ur", "leap", "manus", "aruco", "keyboard", "opencv")
# Around where the emulated robot wakes up, so small that many drills reach its faces.
_TELEOP = """
[teleop]
workspace_low = [0.39, -0.08, 0.15]
workspace_high = [0.55, 0.08, 0.31]
"""
# A key counts as held for less long than a finger takes to tap it again.
_TAP = "hold_s = 0.06\nrepeat_s = 0.05\n"
_PICTURE = (320, 240)  # What is drilled is no encoder.
_TAP_S, _LOOSE_S = 0.02, 0.09
_LOOK_S, _SETTLE_S = 0.004, 10.0
_STILL_RAD, _STILL_S = 0.005, 0.1
_EXCHANGES_S = 0.02  # In which a driver hears what its device says of itself.


class EmulatedStage(Stage):
    """Real drivers, real threads, the host's clock, a policy and a recorder in processes.

    Args:
        rig: Connected and enabled.
        emulators: At the far ends, by name.
        process: A policy of `dexhil.integration.drill.policy.Wanderer`.
        root: Of the dataset.
    """

    grace_s = 0.15

    def __init__(
        self, rig: Rig, emulators: dict[str, EmulatorProcess], process: ProcessPolicy, root: Path
    ) -> None:
        super().__init__(rig, open_dataset(root, rig))
        self.emulators, self.process = emulators, process
        self._flipped = False
        self._outside = self._out_of_range()
        for part in ("arm", "hand"):
            self._tap(part, getattr(rig, part))

    @classmethod
    @contextmanager
    def opened(cls, root: Path) -> Iterator[Self]:
        """Start everything; end it with the block."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            emulators = {n: stack.enter_context(EmulatorProcess(n)) for n in EMULATORS}
            tables = [rig_table(each) for each in emulators.values()]
            tables[EMULATORS.index("keyboard")] += _TAP
            width, height = _PICTURE
            emulators["opencv"].tell("resolution", width, height)
            tables[EMULATORS.index("opencv")] += f"width = {width}\nheight = {height}\n"
            path = folder / "rig.toml"
            path.write_text("\n".join([*tables, _TELEOP]), encoding="utf-8")
            rig = build_rig(path, MonotonicClock())
            process = stack.enter_context(_policy(rig))
            stack.enter_context(rig.running())
            stage = cls(rig, emulators, process, root)
            with stage.writer:
                yield stage

    def _tap(self, part: str, device: Any) -> None:
        """Note what is handed to a driver, past all that the runtime says of it."""
        write = device._write  # noqa: SLF001  # Where every command goes through.

        def noted(command: Any) -> None:
            if part in self.tapes:
                self.tapes[part].note(self.clock.now_s(), command.joint_positions)
            write(command)

        device._write = noted  # noqa: SLF001

    # -- What a stage does -------------------------------------------------------------------

    def make_policy(self, seed: int) -> DrilledPolicy:
        del seed  # The process goes on from drill to drill.
        return DrilledPolicy(self.process, self.clock.now_s)

    def prepare(self, seed: int) -> None:
        del seed
        self.clear()
        self.recover_devices()

    def run(self, player: Player) -> None:
        stop, failed = threading.Event(), []

        def drive() -> None:
            try:
                run_threads(self.loops(), stop, clock=self.clock)
            except BaseException as error:  # noqa: BLE001  # Raised again below.
                failed.append(error)

        thread = threading.Thread(target=drive, name="drill")
        thread.start()
        try:
            while thread.is_alive() and not player.ended:
                player.step()
                self.clock.sleep(_LOOK_S)
        finally:
            stop.set()
            thread.join()
        if failed:
            raise failed[0]

    def press(self, button: str) -> None:
        keyboard = self.emulators["keyboard"]
        keyboard.tell("press", button)
        time.sleep(_TAP_S)
        keyboard.tell("release", button)

    def clear(self) -> None:
        for emulator in self.emulators.values():
            emulator.tell("clear")
        self.emulators["manus"].tell("leap", 0)
        self.flip(upside_down=False)
        keyboard = self.emulators["keyboard"]
        keyboard.tell("typematic", 0.5, 0.03)
        for button in keyboard.state()["pressed"]:
            keyboard.tell("release", button)
        pid = self.process.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        # Only one that was killed: any other is to be well again by itself.
        if "it ended" in (self.process.problem or ""):
            self.process.close()
            self.process.start()
        self.policy.clear()

    def settle(self) -> None:
        give_up_s = self.now_s + _SETTLE_S
        for device in self.rig.devices:
            while True:
                self.recover_devices()  # A busy machine may have left one unheard meanwhile.
                try:
                    device.observe(max_age_s=0.5 * self.config.robot_max_age_s)
                    break
                except DeviceError:
                    if self.now_s > give_up_s:
                        raise
                    self.clock.sleep(_LOOK_S)

    def far_end(self) -> list[str]:
        before = self._targets()
        time.sleep(_STILL_S)
        said = [
            f"the far end of the {part} moved on by {moved:.4f} rad"
            for part, a, b in zip(("arm", "hand"), before, self._targets(), strict=True)
            if (moved := float(np.abs(b - a).max())) > _STILL_RAD
        ]
        outside, self._outside = self._outside, self._out_of_range()
        if self._outside > outside:
            said.append("a device was told to leave its own range")
        return said

    def flip(self, *, upside_down: bool) -> None:
        """Turn what the cube's camera sees."""
        if self._flipped is not upside_down:
            self.emulators["aruco"].tell("flip")
            self._flipped = upside_down

    def _targets(self) -> list[np.ndarray]:
        return [np.array(self.emulators[name].state()["targets"]) for name in ("ur", "leap")]

    def _out_of_range(self) -> int:
        return sum(self.emulators[name].state()["out_of_range"] for name in ("ur", "leap"))


@contextmanager
def _policy(rig: Rig) -> Iterator[ProcessPolicy]:
    """Start a policy whose home is where the robot is."""
    rig.connect()
    home = [*rig.arm.observe().joint_positions, *rig.hand.observe().joint_positions]
    rig.disconnect()
    options = {
        "home": [float(each) for each in home],
        "hand_limits": rig.hand.spec.position_limits.tolist(),
        "period_s": 1 / PROMISED.policy_rate_hz,
        "seed": 0,
    }
    shapes = {
        f"observation.images.{name}": (camera.spec.height, camera.spec.width, 3)
        for name, camera in rig.cameras.items()
    }
    with ProcessPolicy("dexhil.integration.drill.policy:Wanderer", options, shapes) as process:
        yield process


# -- What can be broken ----------------------------------------------------------------------

Break = Callable[[EmulatedStage, np.random.Generator], None]


def _hurt(
    hurt: Break, says: str, within_s: float = 0.0
) -> Callable[[Stage, np.random.Generator], Hurt]:
    def apply(stage: Stage, rng: np.random.Generator) -> Hurt:
        assert isinstance(stage, EmulatedStage)  # noqa: S101  # The catalogue below is for these.
        hurt(stage, rng)
        return Hurt(says=says, within_s=within_s + 1 / stage.config.policy_rate_hz)

    return apply


def _tell(name: str, *words: object) -> Break:
    def tell(stage: EmulatedStage, rng: np.random.Generator) -> None:
        del rng
        stage.emulators[name].tell(*map(str, words))

    return tell


def _signal(number: signal.Signals) -> Break:
    def send(stage: EmulatedStage, rng: np.random.Generator) -> None:
        del rng
        assert stage.process.pid is not None  # noqa: S101  # It was started.
        os.kill(stage.process.pid, number)

    return send


def _rewind(stage: EmulatedStage, rng: np.random.Generator) -> None:
    stage.emulators["ur"].tell("rewind", rng.uniform(0.6, 5.0))


def _forward(stage: EmulatedStage, rng: np.random.Generator) -> None:
    stage.emulators["ur"].tell("rewind", -rng.uniform(0.6, 5.0))


def _hold_stop(stage: EmulatedStage, rng: np.random.Generator) -> None:
    del rng
    stage.emulators["keyboard"].tell("typematic", 0.03, 0.03)
    stage.emulators["keyboard"].tell("press", "stop")


def _loose(stage: Stage, rng: np.random.Generator) -> Hurt:
    assert isinstance(stage, EmulatedStage)  # noqa: S101  # The catalogue below is for these.
    button = str(rng.choice(["takeover", "start", "takeover_hand"]))
    keyboard, due_s = stage.emulators["keyboard"], [stage.now_s]

    def bounce() -> None:
        if stage.now_s >= due_s[0]:
            due_s[0] = stage.now_s + _LOOSE_S
            keyboard.tell("press", button)
            keyboard.tell("release", button)

    allowed = PROMISED.presses_per_s
    return Hurt(
        says=rf"{button} was pressed {allowed + 1} times",
        within_s=2.0,  # A key that is struck again too soon was held.
        each=bounce,
    )


FAULTS: dict[str, Fault] = {
    "glove stale": Fault(
        hurt=_hurt(_tell("manus", "freeze"), "ManusGlove", PROMISED.glove_max_age_s),
        who=HAND,
        refuses=True,
    ),
    "glove frozen": Fault(
        hurt=_hurt(
            _tell("manus", "repeat"), "ManusGlove.*(bit-identical|ms old)", PROMISED.frozen_s
        ),
        who=HAND,
        refuses=True,
    ),
    "glove NaN": Fault(
        hurt=_hurt(_tell("manus", "nan"), "ManusGlove", PROMISED.glove_max_age_s),
        who=HAND,
        refuses=True,
    ),
    "glove teleports": Fault(
        hurt=_hurt(_tell("manus", "leap", 0.5), "ManusGlove.*moved .* m in", 1 / 90),
        who=HAND,
    ),
    "cube lost": Fault(
        hurt=_hurt(_tell("aruco", "nan"), "ArucoTracker", PROMISED.tracker_max_age_s),
        who=ARM,
        refuses=True,
    ),
    "cube flipped": Fault(
        hurt=_hurt(
            lambda s, _: s.flip(upside_down=True), "ArucoTracker", PROMISED.tracker_max_age_s
        ),
        who=ARM,
    ),
    "camera stale": Fault(
        hurt=_hurt(_tell("opencv", "freeze"), "OpencvCamera", PROMISED.camera_max_age_s),
        who=ANYBODY,
        refuses=True,
    ),
    "camera frozen": Fault(
        hurt=_hurt(
            _tell("opencv", "repeat"),
            "OpencvCamera.*(bit-identical|ms old)",
            1.0 + 1 / 30,
        ),
        who=ANYBODY,
        refuses=True,
    ),
    "policy late": Fault(
        hurt=_hurt(_signal(signal.SIGSTOP), "policy: no action for", SILENCE_S), who=POLICY
    ),
    "policy dead": Fault(
        hurt=_hurt(_signal(signal.SIGKILL), "policy process: it ended"), who=POLICY
    ),
    "policy NaN": Fault(hurt=say_nonsense, who=POLICY),
    "far first action": Fault(hurt=begin_far, who=("nobody", "both"), again=("start",)),
    "arm p-stop": Fault(
        hurt=_hurt(_tell("ur", "protective_stop"), "UrArm.*protective stop", _EXCHANGES_S),
        who=ANYBODY,
        refuses=True,
    ),
    "hand over-current": Fault(
        hurt=_hurt(_tell("leap", "error", 3, 32), "LeapHand.*overload", _EXCHANGES_S),
        who=ANYBODY,
        refuses=True,
    ),
    "stop stuck": Fault(hurt=_hurt(_hold_stop, "stopped by", 0.05), who=ANYBODY, refuses=True),
    "contact loose": Fault(hurt=_loose, who=("both",), quiet_s=1.2),
    "switch silent": Fault(
        hurt=_hurt(_tell("keyboard", "freeze"), "KeyboardSwitch", PROMISED.switch_max_age_s + 0.1),
        who=ANYBODY,
        quiet_s=1.2,
    ),
    "clock steps": Fault(hurt=_hurt(_rewind, "UrArm", PROMISED.robot_max_age_s), who=ANYBODY),
    # Ages are counted from when a state arrives: that the controller's clock leaps is all the same.
    "clock not needed": Fault(hurt=_hurt(_forward, ""), who=ANYBODY, holds=False),
    "glove not needed": Fault(
        hurt=_hurt(_tell("manus", "freeze"), ""),
        who=("policy", "policy+arm", "arm"),
        holds=False,
    ),
    "cube not needed": Fault(
        hurt=_hurt(_tell("aruco", "nan"), ""),
        who=("policy", "policy+hand", "hand"),
        holds=False,
    ),
}
