"""The same session, driven on real threads by somebody who presses buttons."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dexhil.drivers.clock import MonotonicClock, SimClock
from dexhil.drivers.glove.sim import relaxed_hand
from dexhil.drivers.models.kinematics import Side
from dexhil.integration import live
from dexhil.integration.errors import RunError
from dexhil.integration.live import drive, end_attempt, make_session
from dexhil.integration.retargeting.users import User
from dexhil.integration.rig import Rig, build_rig
from dexhil.retarget import HumanProportions, RetargetError
from dexhil.retarget.calibration import Residuals
from dexhil.retarget.keypoints import bone_lengths
from dexhil.retarget.wearer import Fingerprint
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.frame import Frame
from dexhil.teleop.schedule import run_events
from dexhil.teleop.takeover import Event, Mode


def test_a_person_ends_an_attempt_with_the_pedal(rig: Path) -> None:
    real = build_rig(rig, MonotonicClock(), cameras=False)
    with real.running():
        session = make_session(real)
        modes: set[Mode] = set()

        def press(button: str) -> None:
            real.switch.press(button)
            real.switch.release(button)

        timers = [
            threading.Timer(0.4, press, ["takeover"]),
            threading.Timer(1.2, press, ["success"]),
        ]
        for timer in timers:
            timer.start()
        stretch = drive(
            real, session, duration_s=20.0, show=lambda running: modes.add(running.mode)
        )
        for timer in timers:
            timer.join()
    assert stretch.success is True
    assert Mode.HUMAN in modes
    assert session.mode is Mode.HOLD, "the robot holds once the attempt is over"
    assert stretch.duration_s < 19.0
    assert {"policy", "arm", "hand"} == set(stretch.loops)


def test_time_is_up_after_the_duration(rig: Path) -> None:
    simulated = build_rig(rig, SimClock(), cameras=False)
    with simulated.running():
        stretch = drive(simulated, make_session(simulated), duration_s=2.0)
    assert stretch.ended == "2 s are over"
    assert stretch.success is None


def test_a_lost_glove_ends_a_drive_that_nobody_can_resume(rig: Path) -> None:
    simulated = build_rig(rig, SimClock(), cameras=False)
    with simulated.running():
        session = make_session(simulated)

        def unplug(running: object) -> None:
            del running
            if simulated.clock.now_s() > start_s + 1.0:
                simulated.glove.faults.freeze()

        start_s = simulated.clock.now_s()
        stretch = drive(simulated, session, first=Event.TAKE_OVER, duration_s=30.0, show=unplug)
    assert "SimGlove" in stretch.ended
    assert "ms old" in stretch.ended
    assert stretch.duration_s < 2.0


def test_time_in_which_nobody_drives_is_no_time_of_driving(rig: Path) -> None:
    simulated = build_rig(rig, SimClock(), cameras=False)
    with simulated.running():
        session = make_session(simulated)
        start_s = simulated.clock.now_s()

        def press(_: object) -> None:
            if simulated.clock.now_s() > start_s + 1.55:
                simulated.switch.release("takeover")
            elif simulated.clock.now_s() > start_s + 1.45:
                simulated.switch.press("takeover")

        stretch = drive(simulated, session, duration_s=2.0, show=press)
    assert stretch.duration_s == pytest.approx(2.0)
    assert stretch.driven_s == pytest.approx(0.5, abs=0.11)
    assert session.status().steps.attempt == pytest.approx(10, abs=2)


def test_the_last_frame_is_of_whoever_drove_last(rig: Path) -> None:
    simulated, frames = build_rig(rig, SimClock(), cameras=False), list[Frame]()
    with simulated.running():
        session = make_session(simulated, sink=SimpleNamespace(write=frames.append))
        drive(simulated, session, first=Event.TAKE_OVER, duration_s=1.0)
        assert (session.mode, session.drive.reason) == (Mode.HOLD, "the attempt is over")
    last = frames[-1]
    assert (last.mode, last.segment, last.authority, last.reason) == (Mode.HUMAN, 1, 1.0, "")


def test_what_cannot_be_written_ends_an_attempt_all_the_same(rig: Path) -> None:
    def full(_: Frame) -> None:
        raise OSError("no space left")

    clock = SimClock()
    simulated = build_rig(rig, clock, cameras=False)
    with simulated.running():
        session = make_session(simulated, sink=SimpleNamespace(write=full))
        session.begin()
        session.set_event(Event.TAKE_OVER)
        run_events(session.loops(), clock, duration_s=0.04)
        assert session.mode is Mode.HUMAN
        with pytest.raises(OSError, match="no space left"):
            end_attempt(session)
        assert session.mode is Mode.HOLD


class Waiting(SimClock):
    """A clock on which something may happen while somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.n_waits = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def sleep(self, duration_s: float) -> None:
        super().sleep(duration_s)
        self.n_waits += 1
        self.meanwhile()


@pytest.fixture
def late(rig: Path) -> Iterator[tuple[Rig, Waiting]]:
    """Return a rig whose arm was not heard of for longer than is allowed, and its clock."""
    clock = Waiting()
    simulated = build_rig(rig, clock, cameras=False)
    with simulated.running():
        simulated.arm.observe()
        simulated.arm.faults.freeze()  # type: ignore[attr-defined]
        clock.advance_to(clock.now_s() + 0.2)
        yield simulated, clock


def test_a_sample_that_is_late_between_attempts_ends_nothing(late: tuple[Rig, Waiting]) -> None:
    simulated, clock = late
    clock.meanwhile = simulated.arm.faults.clear  # type: ignore[attr-defined]
    stretch = drive(simulated, make_session(simulated), first=Event.TAKE_OVER, duration_s=0.5)
    assert stretch.ended == "0.5 s are over"


def test_an_arm_that_says_nothing_for_a_second_begins_no_attempt(
    late: tuple[Rig, Waiting],
) -> None:
    simulated, clock = late
    start_s = clock.now_s()
    with pytest.raises(DoubtError, match=r"SimArm.*ms old"):
        drive(simulated, make_session(simulated))
    assert clock.now_s() - start_s == pytest.approx(1.0, abs=0.03)


def test_nobody_waits_for_an_arm_that_faulted(late: tuple[Rig, Waiting]) -> None:
    simulated, clock = late
    simulated.arm.faults.fail("protective stop")  # type: ignore[attr-defined]
    with pytest.raises(DoubtError, match="protective stop"):
        drive(simulated, make_session(simulated))
    assert clock.n_waits == 0


def anna(*, size: float = 1.0, glove: str = "sim", side: Side = "right") -> User:
    """A person whose hand is that of the simulated glove, or larger."""
    bones = size * bone_lengths(relaxed_hand("right"))
    return User(
        name="anna",
        glove=glove,
        side=side,
        hand="inspire",
        date=datetime(2026, 11, 21, tzinfo=UTC),
        proportions=HumanProportions(
            reaches=bones.reshape(5, 4).sum(axis=1), thumb_offset=np.array([0.004, 0.0, 0.002])
        ),
        fingerprint=Fingerprint(bones=bones, tolerance=0.05),
        residuals=Residuals(
            reach_spread=np.zeros(5),
            raw_gaps=np.zeros(4),
            robot_gaps=np.zeros(4),
            robot_fist=1.0,
        ),
    )


def test_a_calibrated_person_is_retargeted_by_their_own_proportions(
    rig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[HumanProportions | None] = []

    def make(kinematics: Any, *, human: HumanProportions | None) -> Any:
        asked.append(human)
        return retargeter(kinematics, human=human)

    retargeter = live.make_retargeter
    monkeypatch.setattr(live, "make_retargeter", make)
    simulated, user = build_rig(rig, SimClock(), cameras=False), anna()
    with simulated.running():
        make_session(simulated, user=user)
        make_session(simulated)
    assert asked == [user.proportions, None]


def test_somebody_else_in_the_glove_gets_no_session(rig: Path) -> None:
    simulated = build_rig(rig, SimClock(), cameras=False)
    with simulated.running(), pytest.raises(RetargetError, match="not the hand of 'anna'"):
        make_session(simulated, user=anna(size=1.2))


@pytest.mark.parametrize(("glove", "side"), [("quest", "right"), ("sim", "left")])
def test_a_person_calibrated_with_another_glove_gets_no_session(
    rig: Path, glove: str, side: Side
) -> None:
    simulated = build_rig(rig, SimClock(), cameras=False)
    with (
        simulated.running(),
        pytest.raises(RunError, match=f"calibrated for the {side} glove '{glove}'.*right 'sim'"),
    ):
        make_session(simulated, user=anna(glove=glove, side=side))
