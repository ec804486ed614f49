"""A rig: the devices of one rig file, built, connected and switched off together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from dexhil.drivers.arm import Arm
from dexhil.drivers.camera import Camera
from dexhil.drivers.clock import Clock
from dexhil.drivers.device import Actuator
from dexhil.drivers.errors import DeviceError
from dexhil.drivers.glove import Glove
from dexhil.drivers.hand import Hand
from dexhil.drivers.registry import AnyDevice, RigEntry, RigFile, parse, read_rig
from dexhil.drivers.sim.world import World
from dexhil.drivers.switch import SeveralSwitches, Switch
from dexhil.drivers.tracker import Tracker
from dexhil.integration.errors import RigError
from dexhil.teleop.config import TeleopConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """One arm with one hand, the person's devices, and any number of cameras.

    Attributes:
        file: Where the devices were named.
        clock: What every device stamps with.
        world: The simulated world, or ``None`` on a real rig.
        cameras: By the name in the rig file.
    """

    file: RigFile
    clock: Clock
    world: World | None
    arm: Arm
    hand: Hand
    glove: Glove
    tracker: Tracker
    switch: Switch
    cameras: Mapping[str, Camera] = field(default_factory=dict)

    @property
    def devices(self) -> tuple[AnyDevice, ...]:
        people = (self.glove, self.tracker, self.switch)
        return (self.arm, self.hand, *people, *self.cameras.values())

    @property
    def robot_type(self) -> str:
        """What a dataset calls this robot, e.g. ``"ur5e_leap"``, ``"ur5e_leap_left"``.

        Joints of both hands have the same names, so nothing else in a dataset tells them apart.
        """
        side = "" if self.hand.spec.side == "right" else f"_{self.hand.spec.side}"
        return f"{self.arm.spec.model}_{self.hand.spec.model}{side}"

    def connect(self) -> None:
        """Connect every device; if one fails, let go of all and say which failed.

        Raises:
            RigError: With one sentence for each device that did not connect.
        """
        failures: list[DeviceError] = []
        for device in self.devices:
            try:
                device.connect()
            except DeviceError as error:
                failures.append(error)
        if failures:
            self.disconnect()
            sentences = " ".join(dict.fromkeys(str(failure) for failure in failures))
            raise RigError(
                f"{self.file.path}: {len(failures)} device(s) failed. {sentences}"
            ) from (failures[0])

    def enable(self) -> None:
        """Allow arm and hand to move. They hold where they are until commanded."""
        for device in self.devices:
            if isinstance(device, Actuator):
                device.enable()

    def disconnect(self) -> None:
        """Make everything safe, first of all what can move. Repeating does nothing."""
        # A listener that is stuck takes seconds to let go of.
        for device in sorted(self.devices, key=lambda each: not isinstance(each, Actuator)):
            device.disconnect()

    @contextmanager
    def running(self) -> Iterator["Rig"]:
        """Connect and enable on entry; disconnect on the way out, however it goes."""
        try:
            self.connect()
            self.enable()
            yield self
        finally:
            self.disconnect()
            if self.world is not None:
                self.world.close()


def build_rig(
    path: Path,
    clock: Clock,
    *,
    cameras: bool = True,
    world: Mapping[str, Any] | None = None,
    replacing: RigEntry | None = None,
) -> Rig:
    """Construct every device of a rig file. Nothing is opened.

    Args:
        path: The rig file.
        clock: What every device stamps with.
        cameras: Leave the cameras out when false.
        world: Options that override the file's ``[world]`` table.
        replacing: A device that takes the place of the file's device of that kind.

    Raises:
        DeviceError: The file is wrong.
        RigError: A kind that every rig needs is missing or named twice, glove and hand are
            of different sides, or a real arm or hand has only a simulated switch.
    """
    file = read_rig(path)
    parse(TeleopConfig, file.teleop, f"{path}: [teleop]")  # Before anything is switched on.
    if world and file.world is not None:
        file = replace(file, world={**file.world, **world})
    entries = file.devices
    if replacing is not None:
        entries = (*(e for e in entries if e.kind != replacing.kind), replacing)
    sim = cast("World | None", file.build_world(clock))
    built = [
        (entry, entry.build(clock, sim)) for entry in entries if cameras or entry.kind != "camera"
    ]

    def only(kind: str) -> Any:
        found = [device for entry, device in built if entry.kind == kind]
        if len(found) != 1:
            raise RigError(f"{path}: needs exactly one [{kind}.NAME] table, has {len(found)}.")
        return found[0]

    hand, glove = only("hand"), only("glove")
    if hand.spec.side != glove.spec.side:
        raise RigError(
            f"{path}: the glove is worn on the {glove.spec.side} hand, but the robot's is a "
            f"{hand.spec.side} one. Set the same side for both."
        )
    arm = only("arm")
    switch = _one_switch([d for entry, d in built if entry.kind == "switch"]) or only("switch")
    for device in (arm, hand):
        if switch.spec.simulated and not device.spec.simulated:
            raise RigError(
                f"{path}: {device} is real, but {switch} is simulated, so nobody could stop it. "
                "Name a switch with a stop button that a person can press."
            )
    return Rig(
        file=file,
        clock=clock,
        world=sim,
        arm=arm,
        hand=hand,
        glove=glove,
        tracker=only("tracker"),
        switch=switch,
        cameras={entry.name: cast("Camera", d) for entry, d in built if entry.kind == "camera"},
    )


def _one_switch(switches: Sequence[Any]) -> Switch | None:
    """Return several switches as one; nothing where there is one or none."""
    if len(switches) < 2:
        return None
    return SeveralSwitches(switches, name="switches", clock=switches[0].clock)
