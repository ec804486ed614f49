"""One step of the policy's clock: what was seen, who drove, and what was really sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dexhil.drivers.arm import ArmObservation
from dexhil.drivers.camera import CameraObservation
from dexhil.drivers.hand import HandObservation
from dexhil.teleop.se3 import Vector
from dexhil.teleop.takeover import Mode


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One step, from the observation to the moment before the next one.

    Joint vectors of the whole robot are arm first, then hand.

    Attributes:
        stamp_s: When the observation was taken, on the session's clock [s].
        mode: Who drove at the end of the step.
        segment: Counts changes of driver within the episode, from 0.
        intervention: Whether a person drove at any moment of the step.
        authority: The person's share of the last command, 0 to 1.
        arm: The arm, as observed.
        hand: The hand, as observed.
        state: Arm joints, hand joints, and last hand command minus hand joints [rad].
        environment_state: What the task perceives, if it does.
        images: By camera.
        executed: The last command the devices took in the step [rad]. Shape (n,).
        proposal: What the policy wanted for the step [rad]. Shape (n,).
        human: What the person wanted, before any limit [rad]. Shape (n,).
        ages_s: Ages at ``stamp_s`` of the samples used, by device [s].
        limits: Limits that changed the last command, such as ``"arm velocity"``.
        reason: Why nobody drives, in HOLD; empty otherwise.
    """

    stamp_s: float
    mode: Mode
    segment: int
    intervention: bool
    authority: float
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


class Sink(Protocol):
    """Where frames go."""

    def write(self, frame: Frame) -> None: ...
