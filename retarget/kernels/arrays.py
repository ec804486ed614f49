"""What compiled code works on: a hand, what is asked of it, and where it is, as arrays."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Chains(NamedTuple):
    """The joints of all fingers in rows, finger after finger, root to tip.

    Attributes:
        starts: First row of each finger, and the number of rows. Shape (fingers + 1,).
        positions: Row's frame in the frame of the row before [m]. Shape (rows, 3).
        rotations: Same, at joint angle zero. Shape (rows, 3, 3).
        axes: Joint axis in the row's frame. Shape (rows, 3).
        columns: Commanded joint that moves the row. Shape (rows,).
        multipliers: Joint angle per commanded angle; not 1 for coupled joints. Shape (rows,).
        offsets: Joint angle at commanded angle zero [rad]. Shape (rows,).
        tips: Fingertip in the frame of the finger's last row [m]. Shape (fingers, 3).
    """

    starts: Indices
    positions: Matrix
    rotations: Matrix
    axes: Matrix
    columns: Indices
    multipliers: Vector
    offsets: Vector
    tips: Matrix


class Capsules(NamedTuple):
    """Round links that should not meet.

    Attributes:
        fingers: Finger of each. Shape (m,).
        rows: Row of `Chains` that each moves with. Shape (m,).
        starts: One end, in the row's frame [m]. Shape (m, 3).
        ends: The other end [m]. Shape (m, 3).
        radii: [m]. Shape (m,).
        outer: Radii of the spheres around them [m]. Shape (m,).
        pairs: Which two should not meet. Shape (k, 2).
        pinches: Finger that may meet the thumb there when the person pinches, -1 where nothing
            may ever meet. Shape (k,).
    """

    fingers: Indices
    rows: Indices
    starts: Matrix
    ends: Matrix
    radii: Vector
    outer: Vector
    pairs: Indices
    pinches: Indices


class Task(NamedTuple):
    """What the solver minimises; see `dexhil.retarget.retargeter`.

    Attributes:
        fingers: Human finger (0 thumb to 4 little) of each robot finger. Shape (fingers,).
        scales: Robot reach by human reach. Shape (fingers,).
        wrist: Where the robot's wrist is in its palm frame [m]. Shape (3,).
        touch_gaps: Human gap at which thumb and finger touch [m]; the thumb's own is unused.
            Shape (fingers,).
        rest: Posture at human flexion zero [rad]. Shape (n,).
        flexion: Posture per human flexion. Shape (n, 15).
        posture_weights: [m²/rad²]. Shape (n,).
        closing_weights: What a closed finger adds to these [m²/rad²]. Shape (n, fingers).
        closing_angle: Human flexion of knuckle, middle and end joint together at which a finger
            counts as half closed [rad].
        closing_width: How gradually it does [rad].
        pair_weight: Of thumb-to-fingertip vectors out of contact.
        contact_weight: The same in contact.
        contact_distance: Human gap at which contact is half on [m].
        contact_width: How gradually it comes on [m].
        overlap_weight: Of links that meet.
        allowed_overlap: How deep they may [m].
        stay_weight: Pull to where the solve starts [m²/rad²].
        damping: Of each Gauss-Newton step [m²/rad²].
        steps: Gauss-Newton steps per frame.
        box: Lower and upper limits [rad]. Shape (2, n).
        flexing: Which joints bend fingers. Shape (n,).
        led: Whether the start is a good one, for the other joints to stay near.
        follow: Share of the way from the last answer to the solution that is gone.
        max_step: Largest motion of any joint per frame [rad].
    """

    fingers: Indices
    scales: Vector
    wrist: Vector
    touch_gaps: Vector
    rest: Vector
    flexion: Matrix
    posture_weights: Vector
    closing_weights: Matrix
    closing_angle: float
    closing_width: float
    pair_weight: float
    contact_weight: float
    contact_distance: float
    contact_width: float
    overlap_weight: float
    allowed_overlap: float
    stay_weight: float
    damping: float
    steps: int
    box: Matrix
    flexing: npt.NDArray[np.bool_]
    led: bool
    follow: float
    max_step: float


class Net(NamedTuple):
    """Two hidden layers of SiLU. Several equal nets have one more dimension in front.

    Attributes:
        w0: Shape (inputs, hidden).
        b0: Shape (hidden,).
        w1: Shape (hidden, hidden).
        b1: Shape (hidden,).
        w2: Shape (hidden, outputs).
        b2: Shape (outputs,).
    """

    w0: Floats
    b0: Floats
    w1: Floats
    b1: Floats
    w2: Floats
    b2: Floats


class Nets(NamedTuple):
    """All networks of a right hand and which drives they set.

    Attributes:
        fingers: All but the thumb, stacked.
        thumb: Its base.
        residual: What it adds, seeing where the robot's fingers are.
        shared: Of drives that move several fingers; without outputs if there are none.
        rows: Human finger of each robot finger, thumb first. Shape (fingers,).
        own: Drives of each finger alone, -1 where it has fewer. Shape (fingers, most).
        common: Drives of ``shared``.
        low: Lower limits [rad]. Shape (n,).
        high: Upper limits [rad]. Shape (n,).
        wrist: Where the person's wrist would be in the root frame [m]. Shape (3,).
        reach: Mean of the robot's fingers [m].
        share: The most that the residual turns a joint, by half the joint's range.
        chains: The right hand.
        left: Whether it is the left hand that is to move.
        order: Place of each joint of the hand that is to move in the right hand's answer.
            Shape (n,).
        signs: 1, or -1 where that joint turns the other way. Shape (n,).
    """

    fingers: Net
    thumb: Net
    residual: Net
    shared: Net
    rows: Indices
    own: Indices
    common: Indices
    low: Vector
    high: Vector
    wrist: Vector
    reach: float
    share: float
    chains: Chains
    left: bool
    order: Indices
    signs: Vector


class Person(NamedTuple):
    """Whose keypoints they are, for a map.

    Attributes:
        size: Keypoints are divided by it, so that all people look alike.
        reaches: After that [m]. Shape (5,).
        touch_gaps: At which fingers touch the thumb, likewise; the thumb's own comes first and is
            unused [m]. Shape (5,).
    """

    size: float
    reaches: Vector
    touch_gaps: Vector


class Setup(NamedTuple):
    """What stays the same from frame to frame.

    Attributes:
        mirror: Whether keypoints are those of a left hand.
        thumb_offset: Added to the thumb in the palm frame [m]. Shape (3,).
        hand: Which.
        task: What is asked of it.
        nets: A learned map of it; not used unless the task is ``led``.
        person: Whose keypoints they are, for the map.
    """

    mirror: bool
    thumb_offset: Vector
    hand: tuple[Chains, Capsules]
    task: Task
    nets: Nets
    person: Person


class Goals(NamedTuple):
    """A `Task` for one frame of keypoints.

    Attributes:
        tips: Where each fingertip should be [m]. Shape (fingers, 3).
        pairs: From the thumb's tip to each fingertip; the thumb's own row is zero [m]. Same shape.
        contacts: How much each finger touches the thumb, 0 to 1; the thumb's own is not used.
            Shape (fingers,).
        pair_roots: Square roots of the pairs' weights. Shape (fingers,).
        posture: Where joints are pulled to [rad]. Shape (n,).
        posture_weights: How hard [m²/rad²]. Shape (n,).
    """

    tips: Matrix
    pairs: Matrix
    contacts: Vector
    pair_roots: Vector
    posture: Vector
    posture_weights: Vector


class Pose(NamedTuple):
    """A hand at some joint angles, in the root frame.

    Attributes:
        origins: Of each row's joint [m]. Shape (rows, 3).
        axes: Of each row's joint. Shape (rows, 3).
        rotations: Of each row's link. Shape (rows, 3, 3).
        tips: [m]. Shape (fingers, 3).
    """

    origins: Matrix
    axes: Matrix
    rotations: Matrix
    tips: Matrix


def no_nets(chains: Chains) -> Nets:
    """Return networks that know nothing: whoever has none still runs the same compiled code."""
    net, nets = (
        Net(*(np.zeros((0,) * (dims + more), np.float32) for dims in (2, 1, 2, 1, 2, 1)))
        for more in (0, 1)
    )
    none, nowhere = np.zeros(0), np.zeros(0, np.int64)
    return Nets(
        fingers=nets,
        thumb=net,
        residual=net,
        shared=net,
        rows=nowhere,
        own=np.zeros((0, 0), np.int64),
        common=nowhere,
        low=none,
        high=none,
        wrist=none,
        reach=0.0,
        share=0.0,
        chains=chains,
        left=False,
        order=nowhere,
        signs=none,
    )
