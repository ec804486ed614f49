"""Attempts on a rig that people press the buttons of: bounded, labelled, repeated, resumed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dexhil.drivers.errors import DeviceError
from dexhil.drivers.switch import Switch
from dexhil.integration.live import drive, make_session
from dexhil.integration.recorder import Recorder
from dexhil.integration.retargeting.users import User
from dexhil.integration.rig import Rig
from dexhil.policy.episodes import DatasetReader, Episode, EpisodeWriter
from dexhil.retarget.build import Retargets
from dexhil.teleop.actions import AsyncPolicy, Policy
from dexhil.teleop.authority import Verdict
from dexhil.teleop.frame import Frame, Sink, together
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Mode

_POLL_S = 0.05
_LABELS: dict[Verdict | None, bool | None] = {"success": True, "failure": False}
_ANSWERS: tuple[Verdict, ...] = ("success", "failure", "redo", "abort")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What attempts are made for.

    Attributes:
        task: What the robot is asked to do.
        n: Successes wanted, those that the dataset has already among them.
        corrected: Only a success in which a person drove counts: a takeover of a policy.
        attempt_s: Longest attempt, from the moment somebody drives [s].
        answer_s: How long the operator is asked for a label after an attempt ran out of
            time [s].
    """

    task: str
    n: int
    corrected: bool
    attempt_s: float = 120.0
    answer_s: float = 15.0


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the attempts so far.

    Attributes:
        counted: Successes that count, those found in the dataset among them.
        found: Of those, found in the dataset.
        successes: Kept, with that label.
        failures: Kept, with that label.
        unlabelled: Kept, without a label.
        redone: Not kept, to be done again.
        aborted: Whether the operator ended the series.
    """

    counted: int = 0
    found: int = 0
    successes: int = 0
    failures: int = 0
    unlabelled: int = 0
    redone: int = 0
    aborted: bool = False

    def __str__(self) -> str:
        counts = f"{self.successes} success, {self.failures} failure"
        counts += f", {self.unlabelled} unlabelled" if self.unlabelled else ""
        return counts + (f", {self.redone} redone" if self.redone else "")


class AttemptSink:
    """Passes frames on from the moment somebody drives: waiting is no part of an attempt.

    Args:
        sink: Takes the frames of the attempt.

    Attributes:
        n_frames: Of this attempt.
        corrected: Whether a person drove in it.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.begin()

    def begin(self) -> None:
        """Begin the next attempt."""
        self.n_frames, self.corrected = 0, False

    def write(self, frame: Frame) -> None:
        if self.n_frames == 0 and frame.mode is Mode.HOLD:
            return
        self._sink.write(frame)
        self.n_frames += 1
        self.corrected = self.corrected or frame.intervention


def resume(root: Path, wanted: Wanted) -> Tally:
    """Return a tally of what the dataset in ``root`` already has of what is wanted.

    Raises:
        DatasetError: It is damaged.
    """
    reader = DatasetReader(root)
    episodes = (reader.episode(index) for index in range(len(reader)))
    found = sum(_counts(episode, wanted) for episode in episodes)
    return Tally(counted=found, found=found)


def _counts(episode: Episode, wanted: Wanted) -> bool:
    done = episode.success is True and episode.task == wanted.task
    return done and (not wanted.corrected or bool(episode.intervention.any()))


def live_attempts(
    rig: Rig,
    writer: EpisodeWriter,
    wanted: Wanted,
    *,
    tally: Tally | None = None,
    policy: Policy | AsyncPolicy | None = None,
    retargeter: Retargets | None = None,
    user: User | None = None,
    say: Callable[[str], None] = lambda _: None,
    show: Callable[[Session], None] = lambda _: None,
    watcher: Sink | None = None,
) -> Tally:
    """Record a person's attempts, or a policy's with a person, until enough succeeded.

    Each begins when somebody presses ``start`` or ``takeover``; until then the robot holds
    and nothing is recorded. It ends with ``success`` or ``failure``, its label; with ``redo``,
    which forgets it; with ``abort``, which forgets it and ends the series; or when its time is
    over: then the operator is asked for one of the four, and without an answer it is kept
    without a label. Losing the glove ends nothing: the robot holds until it is taken again.

    Args:
        rig: Connected and enabled.
        writer: Takes the attempts.
        wanted: What for.
        tally: To go on with, see `resume`; a new one when ``None``.
        policy: Who tries; without one a person demonstrates.
        retargeter: As for `make_session`.
        user: As for `make_session`.
        say: Prompts the operator. The robot is switched on: it must not wait.
        show: Called ten times a second, for whoever watches.
        watcher: Takes every frame, those between attempts too.

    Raises:
        RunError, RetargetError: As `make_session`.
        KeyboardInterrupt: The operator pressed Ctrl-C. The attempt so far is kept.
    """
    tally = tally or Tally()
    sink = AttemptSink(Recorder(writer, demonstration=policy is None))
    session = make_session(
        rig, policy=policy, sink=together(sink, watcher), retargeter=retargeter, user=user
    )
    if tally.found:
        say(f"{tally.found} of {wanted.n} are in the dataset already.")
    while tally.counted < wanted.n and not tally.aborted:
        say(_prompt(tally, wanted))
        sink.begin()
        writer.begin_episode(wanted.task)
        stretch = drive(rig, session, duration_s=wanted.attempt_s, waits=True, show=show)
        verdict = session.verdict
        try:
            if verdict is None and not stretch.interrupted:
                before = _presses(rig.switch)
                say(f"{stretch.ended}. Was it a success? Press {', '.join(_ANSWERS)}.")
                verdict = _answer(rig, before, wanted.answer_s)
        finally:
            _close(writer, sink, verdict, tally, wanted)
        if stretch.interrupted:
            raise KeyboardInterrupt
        say(f"{verdict or 'no label'}. So far: {tally}.")
    return tally


def _prompt(tally: Tally, wanted: Wanted) -> str:
    press = "start, takeover when needed" if wanted.corrected else "takeover"
    return (
        f"Success {tally.counted + 1} of {wanted.n}: set the scene, press {press}; within "
        f"{wanted.attempt_s:g} s end it with success, failure, redo or abort."
    )


def _answer(rig: Rig, before: Mapping[str, int], answer_s: float) -> Verdict | None:
    """Wait for one of the four buttons; the robot holds meanwhile, by its own watchdog."""
    end_s = rig.clock.now_s() + answer_s
    while rig.clock.now_s() < end_s:
        counts = _presses(rig.switch)
        for verdict in reversed(_ANSWERS):  # Of two pressed at once, the more careful one.
            if counts.get(verdict, 0) > before.get(verdict, 0):
                return verdict
        rig.clock.sleep(_POLL_S)
    return None


def _presses(switch: Switch) -> Mapping[str, int]:
    try:
        return switch.observe().counts
    except (DeviceError, OSError):
        return {}  # Nobody can answer on a switch that is gone.


def _close(
    writer: EpisodeWriter,
    sink: AttemptSink,
    verdict: Verdict | None,
    tally: Tally,
    wanted: Wanted,
) -> None:
    """Keep the attempt or forget it, and count it."""
    tally.aborted = verdict == "abort"
    if verdict in {"redo", "abort"} or sink.n_frames == 0:
        writer.discard_episode()
        tally.redone += verdict == "redo"
        return
    success = _LABELS.get(verdict)
    writer.end_episode(success)
    tally.successes += success is True
    tally.failures += success is False
    tally.unlabelled += success is None
    tally.counted += success is True and (sink.corrected or not wanted.corrected)
