"""One step of the policy's clock: what was seen, who drove, and what was really sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dexhil.drivers.arm import ArmObservation
from dexhil.drivers.camera import CameraObservation
from dexhil.drivers.glove import GloveObservation
from dexhil.drivers.hand import HandObservation
from dexhil.drivers.tracker import TrackerObservation
from dexhil.teleop.se3 import Vector
from dexhil.teleop.takeover import NOBODY, Drivers, Mode


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One step, from the observation to the moment before the next one.

    Joint vectors of the whole robot are arm first, then hand.

    Attributes:
        stamp_s: When the observation was taken, on the session's clock [s].
        mode: Who drove at the end of the step.
        segment: Counts changes of driver within the episode, from 0.
        intervention: Whether a person drove at any moment of the step.
        authority_arm: The person's share of the arm's last command, 0 to 1.
        authority_hand: The person's share of the hand's last command, 0 to 1.
        arm: The arm, as observed.
        hand: The hand, as observed.
        state: Arm joints, hand joints, and last hand command minus hand joints [rad].
        environment_state: What the task perceives, if it does.
        images: By camera.
        executed: The last command the devices took in the step [rad]. Shape (n,).
        proposal: What the policy wanted for the step [rad]. Shape (n,).
        human: What the person wanted, before any limit [rad]. Shape (n,). A part that they
            do not hold they want as it was executed.
        ages_s: Ages at ``stamp_s`` of the samples used, by device [s].
        limits: Limits that changed the last command, such as ``"arm velocity"``.
        reason: Why nobody drives, in HOLD; empty otherwise.
        drivers: Who drove arm and hand at the end of the step.
        glove: The newest sample of the person's fingers, usable or not, if there is one.
        tracker: The newest sample of the person's wrist, usable or not, if there is one.
    """

    stamp_s: float
    mode: Mode
    segment: int
    intervention: bool
    authority_arm: float
    authority_hand: float
    arm: ArmObservation
    hand: HandObservation
    state: Vector
    environment_state: Vector | None
    images: Mapping[str, CameraObservation]
    executed: Vector
    proposal: Vector | None = None
    human: Vector | None = None
    ages_s: Mapping[str, float] = field(default_factory=dict)
    limits: frozenset[str] = frozenset()
    reason: str = ""
    drivers: Drivers = NOBODY
    glove: GloveObservation | None = None
    tracker: TrackerObservation | None = None

    @property
    def authority(self) -> float:
        """The person's share of the whole last command: the smaller of the two."""
        return min(self.authority_arm, self.authority_hand)


class Sink(Protocol):
    """Where frames go."""

    def write(self, frame: Frame) -> None: ...


class _Several:
    """Sinks that take the same frames."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def write(self, frame: Frame) -> None:
        for sink in self._sinks:
            sink.write(frame)


def together(*sinks: Sink | None) -> Sink | None:
    """Return one sink for several, told in this order; ``None`` where there is none."""
    wanted = [sink for sink in sinks if sink is not None]
    return _Several(wanted) if wanted else None
