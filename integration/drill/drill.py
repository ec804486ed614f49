"""One drill: somebody drives, one thing breaks, everything holds, somebody takes over again."""

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from dexhil.drivers.errors import DeviceError
from dexhil.integration.drill.stage import Frames, Script, Stage, Wait
from dexhil.integration.drill.tape import ROUNDING_M
from dexhil.policy.episodes import DatasetReader
from dexhil.policy.episodes.check import examine
from dexhil.teleop.takeover import Mode

# Who drives, as the buttons that bring it about.
Who = Literal["both", "hand", "arm", "policy", "policy+hand", "policy+arm", "nobody"]
BUTTONS: dict[Who, tuple[str, ...]] = {
    "both": ("takeover",),
    "hand": ("takeover_hand",),
    "arm": ("takeover_arm",),
    "policy": ("start",),
    "policy+hand": ("start", "takeover_hand"),
    "policy+arm": ("start", "takeover_arm"),
    "nobody": (),
}
ANYBODY: tuple[Who, ...] = ("both", "hand", "arm", "policy", "policy+hand", "policy+arm")
HAND: tuple[Who, ...] = ("both", "hand", "policy+hand")
ARM: tuple[Who, ...] = ("both", "arm", "policy+arm")
POLICY: tuple[Who, ...] = ("policy", "policy+hand", "policy+arm")
HELD_S, AGAIN_S, UNHURT_S = 0.2, 0.25, 0.8
_BUSY_S = 0.02  # In threads, a tick that began before takes up to so long [s].
_BETWEEN_S = 0.1  # Presses of the same person.
_LATELY_S = 0.2  # Whoever drives does not pause for so long.
_MOVED_RAD = 1e-4


@dataclass(slots=True, kw_only=True)
class Hurt:
    """What was done, and what must follow.

    Attributes:
        says: Expression that the reason must match.
        within_s: How soon it must be noticed [s].
        each: What goes on being done until it is noticed.
        shows_within_s: How long it may take until it can be noticed at all [s].
        since_s: When that was, if not at once [s].
    """

    says: str
    within_s: float
    shows_within_s: float = 0.0
    each: Callable[[], None] = lambda: None
    since_s: Callable[[], float | None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that breaks.

    Attributes:
        hurt: Breaks it.
        who: For whom it matters.
        holds: Whether anything must be held because of it.
        refuses: Whether a press while it lasts must move nothing.
        again: What is pressed once it is mended; what was pressed at first when empty.
        quiet_s: From mending to the press [s].
    """

    hurt: Callable[[Stage, np.random.Generator], Hurt]
    who: tuple[Who, ...]
    holds: bool = True
    refuses: bool = False
    again: tuple[str, ...] = ()
    quiet_s: float = 0.3


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one drill.

    Attributes:
        fault: Name of the fault.
        rig: Name of the rig.
        kind: ``simulated`` or ``emulated``.
        seed: Of all that is random.
        who: Drove.
        detected_s: From when it could be noticed until everything was to be held [s].
        within_s: How long that may take [s].
        late_s: From then until the last command that was another one; 0 if there was none [s].
        late: How many such commands there were.
        step: Largest step of a command, per what is allowed.
        outside_m: How far the palm was outside its box; negative: inside [m].
        nearest_m: How near the arm was told to come to itself, the hand or the table [m].
        reason: What was said.
        spoilt: Whether everything was held before anything broke, so that nothing was learnt.
        n_spoilt: How often that was so before this drill.
        problems: What is wrong.
        episode: In the dataset.
    """

    fault: str
    rig: str
    kind: str
    seed: int
    who: str = ""
    detected_s: float | None = None
    within_s: float = 0.0
    late_s: float = 0.0
    late: int = 0
    step: float = 0.0
    outside_m: float = 0.0
    nearest_m: float = 0.0
    reason: str = ""
    spoilt: bool = False
    n_spoilt: int = 0
    problems: list[str] = field(default_factory=list)
    episode: int | None = None


def run(stage: Stage, fault: Fault, outcome: Outcome) -> None:
    """Run one drill and fill in its outcome; data are judged later, by `check_data`."""
    rng = np.random.default_rng([outcome.seed, zlib.crc32(outcome.fault.encode())])
    who = fault.who[rng.integers(len(fault.who))]
    outcome.who = who
    stage.begin(int(rng.integers(2**31)), f"{outcome.fault} {outcome.seed}")
    drill = _Drill(stage, fault, who, rng, outcome)
    try:
        stage.play(drill.whole())
        if stage.recover():  # Which loops that run do not survive.
            stage.play(drill.and_again())
    except DeviceError as error:
        outcome.problems.append(f"does not recover: {error}")
    finally:
        stage.clear()
        outcome.episode = stage.end()
    drill.judge_limits()


class _Drill:
    def __init__(
        self, stage: Stage, fault: Fault, who: Who, rng: np.random.Generator, outcome: Outcome
    ) -> None:
        self._stage, self._fault, self._rng, self._outcome = stage, fault, rng, outcome
        self._buttons = BUTTONS[who]
        self._n_problems = len(outcome.problems)  # Of earlier tries: limits are judged in all.

    def _say(self, problem: str) -> None:
        self._outcome.problems.append(problem)

    # -- What happens ------------------------------------------------------------------------

    def whole(self) -> Script:
        """All of it, unless a device must be recovered on the way."""
        yield from self.until_held()
        self._stage.clear()
        if not self._stage.faulted:
            yield from self.and_again()

    def until_held(self) -> Script:
        """Drive, hurt, and see that everything is held."""
        stage, rng = self._stage, self._rng
        yield Wait(longest_s=rng.uniform(0.05, 0.2))
        yield from self._press(self._buttons)
        yield Wait(longest_s=rng.uniform(0.3, 0.8))
        if self._buttons and stage.holds:
            self._spoil()
            return
        hurt_s = stage.now_s
        hurt = self._fault.hurt(stage, rng)
        if not self._fault.holds:
            yield from self._goes_on(hurt_s)
            return
        longest_s = hurt.shows_within_s + hurt.within_s + stage.grace_s + HELD_S
        yield Wait(longest_s=longest_s, until=lambda: stage.holds, each=hurt.each)
        if self._is_busy(hurt.says):
            return
        shown_s = hurt.since_s()
        self._judge_detection(hurt, hurt_s if shown_s is None else shown_s)
        if not stage.holds:
            return
        held_s = stage.session.drive.since_s
        yield Wait(longest_s=HELD_S)
        if self._fault.refuses:
            yield from self._press(self._again()[-1:])
        self._judge_held(held_s)

    def and_again(self) -> Script:
        """It is mended: nothing goes on by itself, a press goes on, without a jump."""
        stage = self._stage
        if self._outcome.detected_s is None:
            return
        mended_s = stage.now_s
        yield Wait(longest_s=self._fault.quiet_s)
        for tape in stage.tapes.values():
            if not stage.holds or tape.changes_s(mended_s):
                self._say(f"{tape.part} went on by itself once it was mended")
        told = {part: len(tape.told) for part, tape in stage.tapes.items()}
        yield from self._press(self._again())
        yield Wait(longest_s=AGAIN_S)
        moved = 0.0
        for part, tape in stage.tapes.items():
            held, *since = (each.joints for each in tape.told[told[part] - 1 :])
            if not since:
                self._say(f"{part}: no commands after the press")
                continue
            moved = max(moved, *(float(np.abs(each - held).max()) for each in since))
            if (since[0] != held).any():
                jump = float(np.abs(since[0] - held).max())
                self._say(f"{part} jumped by {jump:.2e} rad when it was taken again")
        if self._is_busy("^$"):
            return
        if stage.holds or moved < _MOVED_RAD:
            why = stage.session.refused or stage.session.drive.reason
            self._say(f"a press did not go on: {why}")

    def _goes_on(self, hurt_s: float) -> Script:
        """Nobody needs what broke: nothing may stop."""
        stage = self._stage
        yield Wait(longest_s=UNHURT_S, until=lambda: stage.holds)
        if stage.holds:
            self._say(f"held for what nobody needs: {stage.session.drive.reason}")
        lately_s = max(hurt_s, stage.now_s - _LATELY_S)
        if not any(tape.changes_s(lately_s) for tape in stage.tapes.values()):
            self._say("stopped moving for what nobody needs")

    def _spoil(self) -> None:
        outcome = self._outcome
        outcome.spoilt, outcome.reason = True, self._stage.session.drive.reason
        outcome.detected_s, outcome.late_s, outcome.late = None, 0.0, 0
        del outcome.problems[self._n_problems :]

    def _is_busy(self, says: str) -> bool:
        """Whether, in real time, everything is held for a device that was only not heard in time.

        That is right, and says nothing of what broke: the drill is begun again, and counted.
        """
        stage, reason = self._stage, self._stage.session.drive.reason
        busy = stage.holds and stage.grace_s > 0.0 and not re.search(says, reason)
        if busy and re.search("newest sample is|no fresh sample|ArucoTracker.*not finite", reason):
            self._spoil()
        return self._outcome.spoilt

    def _press(self, buttons: Sequence[str]) -> Script:
        for button in buttons:
            self._stage.press(button)
            yield Wait(longest_s=_BETWEEN_S)

    def _again(self) -> Sequence[str]:
        return self._fault.again or self._buttons

    # -- Judging -----------------------------------------------------------------------------

    def _judge_detection(self, hurt: Hurt, since_s: float) -> None:
        stage, outcome = self._stage, self._outcome
        drive = stage.session.drive
        outcome.within_s, outcome.reason = hurt.within_s, drive.reason
        if drive.mode is not Mode.HOLD:
            self._say(f"not noticed within {hurt.within_s + stage.grace_s:.2f} s")
            return
        outcome.detected_s = max(0.0, drive.since_s - since_s)
        if outcome.detected_s > hurt.within_s + stage.grace_s + 1e-6:
            self._say(
                f"noticed after {outcome.detected_s * 1e3:.0f} ms, allowed "
                f"{(hurt.within_s + stage.grace_s) * 1e3:.0f} ms"
            )
        if not re.search(hurt.says, drive.reason):
            self._say(f"does not say what broke ({hurt.says}): {drive.reason}")

    def _judge_held(self, held_s: float) -> None:
        """Everything is still from the tick in which it was noticed, at the near and far end."""
        stage = self._stage
        if not stage.holds:
            self._say("did not stay held")
        for tape in stage.tapes.values():
            changes_s = tape.changes_s(held_s)
            late_s = changes_s[-1] - held_s if changes_s else 0.0
            self._outcome.late_s = max(self._outcome.late_s, late_s)
            self._outcome.late += len(changes_s)
            rate_hz = stage.config.arm_rate_hz if tape.part == "arm" else stage.config.hand_rate_hz
            if late_s > (1.0 / rate_hz + _BUSY_S if stage.grace_s else 0.0):
                self._say(f"{tape.part} was told something else {late_s * 1e3:.1f} ms later")
            if not stage.grace_s and tape.moved_in_hold:
                self._say(f"{tape.part} moved in the very tick in which it was to be held")
        self._outcome.problems += stage.far_end()

    def judge_limits(self) -> None:
        """No command of the whole drill exceeded a limit."""
        stage, outcome = self._stage, self._outcome
        for tape in stage.tapes.values():
            outcome.step = max(outcome.step, tape.worst_step())
            outcome.problems += tape.violations()
        outcome.outside_m = stage.palm.outside_m(stage.tapes["arm"], stage.config)
        if outcome.outside_m > ROUNDING_M:
            self._say(f"palm: {outcome.outside_m * 1e3:.3f} mm outside its box")
        outcome.nearest_m = stage.nearest_m()
        if outcome.nearest_m < stage.config.arm_margin - ROUNDING_M:
            self._say(f"arm: {outcome.nearest_m * 1e3:.3f} mm from what it must not touch")


def check_data(root: Path, outcomes: Sequence[Outcome], kept: Mapping[int, Frames]) -> None:
    """Compare a closed dataset with what the drills handed over, and check it as for training.

    Args:
        root: Of the dataset.
        outcomes: Of the drills in it; gets what is wrong.
        kept: The frames of each episode.
    """
    findings = examine(root).problems
    reader = DatasetReader(root)
    for outcome in outcomes:
        if outcome.episode is None or outcome.episode not in kept:
            outcome.problems.append("the attempt was lost")
            continue
        frames, columns = kept[outcome.episode], reader.episode(outcome.episode).columns
        written = columns["t_mono"].tolist()
        if written != frames.stamps_s:
            outcome.problems.append(f"{len(written)} rows of {len(frames.stamps_s)} frames")
        elif not np.allclose(columns["action"], frames.executed, rtol=0.0, atol=1e-6):
            outcome.problems.append("the rows hold other commands than were executed")
        mine = [f.text for f in findings if f.episode in (outcome.episode, None)]
        outcome.problems += [f"data: {text}" for text in mine]
