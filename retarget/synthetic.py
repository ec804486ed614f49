"""People who do not exist: clips and single frames of hands in motion, with all five fingers.

A clip goes from one posture to the next along minimum-jerk paths, each finger a little
early or late, and rests in between. Postures are mixtures of named ones, pinches solved
for that person's hand, and fingers that go their own way.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import POSTURES, HumanHand
from dexhil.retarget.keypoints import FINGERS

Profile = Literal["glove", "clean", "camera"]

RATE_HZ: Final = 90.0
GLOVE_SIZE: Final = 0.825
"""Of the hand in the glove recordings we know figures of, against the average adult."""
GLOVE_PACE: Final = 4
"""How fast that hand moves per frame, against an unhurried one at 90 Hz: a moving average of
share 0.2 falls about 15 mm behind it at LEAP's scale and leaves 15 % of its jerk."""

_LOW: Final = np.array([(0.0, 0.2, -0.3, -0.4)] + 4 * [(-0.4, -0.3, -0.1, -0.1)])
_HIGH: Final = np.array([(1.9, 1.2, 1.0, 1.3)] + 4 * [(0.4, 1.65, 1.8, 1.2)])
_OWN: Final = {
    # First two joints of each finger; the last two of all fingers but the thumb.
    "spread": (
        ((0.30, 0.75), (0.30, 0.02), (0.05, 0.02), (-0.22, 0.02), (-0.38, 0.02)),
        (0.05, 0.03),
    ),
    "point": (
        ((1.50, 0.50), (0.00, 0.05), (0.00, 1.40), (0.00, 1.40), (0.00, 1.40)),
        (1.60, 0.95),
    ),
    "hook": (
        ((0.60, 0.80), (0.02, 0.10), (0.00, 0.10), (-0.02, 0.10), (-0.04, 0.10)),
        (1.60, 0.95),
    ),
    "flat": (
        ((1.20, 0.40), (0.02, 1.30), (0.00, 1.35), (-0.02, 1.35), (-0.04, 1.30)),
        (0.10, 0.10),
    ),
}


def _named() -> dict[str, Matrix]:
    named = dict(POSTURES)
    for name, (placed, bends) in _OWN.items():
        angles = np.zeros((5, 4))
        angles[:, :2] = placed
        angles[0, 2:] = 0.2
        angles[1:, 2:] = bends
        named[name] = angles
    named["point"][1, 2:] = 0.1
    return named


_NAMED: Final = _named()
_KINDS: Final = ("mixture", "fist", "pinch", "several", "lone", "named")
_SHARES: Final = {
    "clip": (0.37, 0.15, 0.0, 0.04, 0.22, 0.22),
    "training": (0.30, 0.12, 0.26, 0.06, 0.16, 0.10),
}


@dataclass(frozen=True, slots=True, eq=False)
class Postures:
    """Frames of many people, each row a hand of its own in which all five fingers belong together.

    Attributes:
        points: Keypoints in the palm frame [m]. Shape (n, 21, 3).
        reaches: Of the row's person, thumb first, see `HumanProportions` [m]. Shape (n, 5).
    """

    points: Matrix
    reaches: Matrix


def make_clip(
    seed: int,
    frames: int = 3500,
    *,
    profile: Profile = "glove",
    size: float | None = None,
    jitter: float = 0.05,
    fingers: tuple[str, ...] = ("index", "middle", "ring"),
    noise_m: float | None = None,
    repeats: float | None = None,
) -> Matrix:
    """Return a right hand in motion, in the palm frame [m]. Shape (frames, 21, 3).

    Args:
        seed: Of the person and of what they do.
        frames: How many.
        profile: ``"glove"`` measures constant bones and no noise, but joints end at 90 degrees,
            some frames are sent twice, and the hand is quick: see `GLOVE_PACE`. ``"clean"`` is
            the hand itself. ``"camera"`` shakes, and its bones change from frame to frame.
        size: Against the average adult; what the profile usually shows if not given.
        jitter: Largest relative deviation of any bone.
        fingers: Which the thumb meets.
        noise_m: Standard deviation of each coordinate, instead of the profile's [m].
        repeats: Share of frames that are the frame before, instead of the profile's.

    Raises:
        RetargetError: The profile is unknown, or there are no frames.
    """
    if frames < 1 or profile not in ("glove", "clean", "camera"):
        raise RetargetError(f"Clip: {frames} frames of profile {profile!r} cannot be made.")
    rng = np.random.default_rng(seed)
    person = HumanHand(size or (GLOVE_SIZE if profile == "glove" else 1.0), rng=rng, jitter=jitter)
    pace = GLOVE_PACE if profile == "glove" else 1
    angles = _motion(rng, person, pace * frames, fingers)[::pace]
    if profile == "glove":
        angles[:, :, 1:] = np.clip(angles[:, :, 1:], 0.0, np.pi / 2.0)
    clip = np.array([person.keypoints(row) for row in angles])
    noise = noise_m if noise_m is not None else (0.0015 if profile == "camera" else 0.0)
    if noise:
        clip += _shake(rng, clip.shape, noise)
    share = repeats if repeats is not None else (0.04 if profile == "glove" else 0.0)
    again = rng.random(frames) < share
    again[0] = False
    return clip[np.maximum.accumulate(np.where(again, 0, np.arange(frames)))]


def six_poses(
    seed: int, *, size: float = 1.0, ready_s: float = 3.0, move_s: float = 0.5, hold_s: float = 1.3
) -> Matrix:
    """Return a right hand that follows `dexhil calibrate`, at 30 Hz [m]. Shape (frames, 21, 3).

    An open hand, a fist, and the thumb at every fingertip in turn.

    Args:
        seed: Of the person, their tremor and the glove's noise of 0.3 mm.
        size: Against the average adult.
        ready_s: How long the hand is open before the first pose [s].
        move_s: From pose to pose [s].
        hold_s: In a pose [s].
    """
    rng = np.random.default_rng(seed)
    person = HumanHand(size, rng=rng, jitter=0.05)
    here = POSTURES["open"]
    pieces = [np.repeat(here[None], round(RATE_HZ * ready_s), axis=0)]
    for pose in (here, POSTURES["fist"], *(person.pinch(finger) for finger in FINGERS[1:])):
        pieces.append(_path(here, pose, round(RATE_HZ * move_s), rng))
        pieces.append(np.repeat(pose[None], round(RATE_HZ * hold_s), axis=0))
        here = pose
    angles = np.concatenate(pieces)
    moving = (angles + _tremor(rng, len(angles)))[::3]
    clip = np.array([person.keypoints(row) for row in moving])
    return clip + rng.normal(scale=3e-4, size=clip.shape)


def sample_postures(
    rng: np.random.Generator,
    n: int,
    *,
    sizes: tuple[float, float] = (0.7, 1.25),
    jitter: float = 0.12,
    fingers: tuple[str, ...] = FINGERS[1:],
    frames_per_person: int = 100,
    noise_m: float = 0.0,
) -> Postures:
    """Return what people of all sizes do, to train on; no order among the frames.

    A third of the frames lies near contact, and in half of those the hand closes on it.

    Args:
        rng: Draws everything.
        n: Frames.
        sizes: Smallest and largest person against the average adult.
        jitter: Largest relative deviation of any bone.
        fingers: Which the thumb meets.
        frames_per_person: Before the next one.
        noise_m: Standard deviation of each coordinate [m].
    """
    points, reaches = np.empty((n, 21, 3)), np.empty((n, 5))
    for first in range(0, n, frames_per_person):
        person = HumanHand(rng.uniform(*sizes), rng=rng, jitter=jitter)
        rows = range(first, min(first + frames_per_person, n))
        bank = [
            _pinch(rng, person, str(rng.choice(fingers)))
            for _ in range(max(1, frames_per_person // 16))
        ]
        for row in rows:
            angles = _posture(rng, person, _SHARES["training"], bank, fingers)
            if rng.random() < 0.5:  # On the way from another posture.
                other = _posture(rng, person, _SHARES["training"], bank, fingers)
                angles = angles + rng.beta(0.7, 2.0) * (other - angles)
            if rng.random() < 0.3:
                angles[:, 1:] = np.clip(angles[:, 1:], 0.0, np.pi / 2.0)
            points[row] = person.keypoints(angles)
        reaches[rows.start : rows.stop] = person.proportions.reaches
    return Postures(points + rng.normal(scale=noise_m, size=points.shape), reaches)


def _motion(
    rng: np.random.Generator, person: HumanHand, frames: int, fingers: tuple[str, ...]
) -> Matrix:
    """Return joint angles of a person who does one thing after the other. Shape (frames, 5, 4)."""
    out = np.empty((frames, 5, 4))
    here, frame = POSTURES["open"], 0
    bank = [_pinch(rng, person, finger) for finger in fingers for _ in range(6)]
    queue: list[Matrix] = []
    while frame < frames:
        if not queue:
            # In turn, so that every finger pinches about equally often.
            queue = [bank[6 * k + int(rng.integers(6))] for k in range(len(fingers))]
            queue += [_posture(rng, person, _SHARES["clip"], bank, fingers) for _ in range(7)]
            rng.shuffle(queue)
        target = queue.pop()
        move = _path(here, target, round(RATE_HZ * rng.uniform(0.25, 0.9)), rng)
        still = np.repeat(target[None], round(RATE_HZ * rng.uniform(0.05, 0.45)), axis=0)
        for piece in (move, still):
            end = min(frame + len(piece), frames)
            out[frame:end] = piece[: end - frame]
            frame = end
        here = target
    return out + _tremor(rng, frames)


def _path(start: Matrix, end: Matrix, frames: int, rng: np.random.Generator) -> Matrix:
    """Return a minimum-jerk path with fingers up to a fifth of the way late."""
    late = rng.uniform(0.0, 0.2, (5, 1))
    time = np.linspace(0.0, 1.0, max(frames, 2))[:, None, None]
    t = np.clip((time - late) / 0.8, 0.0, 1.0)
    return start + (10.0 - 15.0 * t + 6.0 * t * t) * t**3 * (end - start)


def _tremor(rng: np.random.Generator, frames: int) -> Matrix:
    """Return the small slow motion of a hand that rests [rad]. Shape (frames, 5, 4)."""
    time = np.arange(frames)[:, None, None, None] / RATE_HZ
    rates, phases = rng.uniform(0.1, 1.5, (3, 5, 4)), rng.uniform(0.0, 2.0 * np.pi, (3, 5, 4))
    tremor: Matrix = 0.006 * np.sin(2.0 * np.pi * rates * time + phases).sum(axis=1)
    return tremor


def _shake(rng: np.random.Generator, shape: tuple[int, ...], noise_m: float) -> Matrix:
    """Return noise of a tracker: half of it lasts for about ten frames."""
    white = rng.normal(scale=noise_m / np.sqrt(2.0), size=shape)
    slow = white.copy()
    drive = rng.normal(scale=noise_m / np.sqrt(2.0), size=shape) * np.sqrt(1.0 - 0.9**2)
    for frame in range(1, shape[0]):
        slow[frame] = 0.9 * slow[frame - 1] + drive[frame]
    return white + slow


def _posture(
    rng: np.random.Generator,
    person: HumanHand,
    shares: tuple[float, ...],
    bank: list[Matrix],
    fingers: tuple[str, ...],
) -> Matrix:
    kind = str(rng.choice(_KINDS, p=shares))
    return _posture_of(rng, person, kind, bank, fingers)


def _posture_of(
    rng: np.random.Generator,
    person: HumanHand,
    kind: str,
    bank: list[Matrix],
    fingers: tuple[str, ...],
) -> Matrix:
    """Return joint angles of one kind of posture [rad]. Shape (5, 4)."""
    if kind == "pinch":
        return bank[int(rng.integers(len(bank)))]
    if kind == "several" and len(fingers) > 1:
        first = int(rng.integers(len(fingers) - 1))
        return person.pinch(*fingers[first : first + int(rng.integers(2, 4))])
    if kind == "fist":
        angles = POSTURES["fist"] + rng.uniform(0.0, 0.2, (5, 1)) * np.array((0.0, 1.0, 0.5, 0.0))
        angles[1:, 3] = rng.uniform(0.75, 1.2)
        angles[0] = rng.normal((1.35, 0.55, 0.7, 0.8), (0.2, 0.12, 0.2, 0.2))
        return _bounded(angles)
    if kind == "named":
        angles = _NAMED[str(rng.choice(list(_NAMED)))].copy()
    else:
        weights = rng.dirichlet(np.full(len(_NAMED), 0.4))
        angles = np.tensordot(weights, np.array(list(_NAMED.values())), axes=1)
    if kind == "lone":
        for row in np.flatnonzero(rng.random(5) < 0.4):
            angles[row] = _lone_finger(rng, thumb=row == 0)
    angles[1:, 0] += rng.normal(scale=0.08, size=4)
    angles[:, 1:] += rng.normal(scale=0.10, size=(5, 3))
    # People differ most in how far they hold the thumb out of the palm.
    angles[0, 0] *= rng.uniform(0.2, 1.05)
    angles[0, 2:] += rng.uniform(0.0, 0.6)
    angles[0] += rng.normal(scale=0.12, size=4)
    return _bounded(angles)


def _lone_finger(rng: np.random.Generator, *, thumb: bool) -> Vector:
    row: Vector = rng.uniform(_LOW[0 if thumb else 1], _HIGH[0 if thumb else 1])
    if not thumb:  # One tendon bends middle and end joint.
        row[3] = 0.6 * row[2] + rng.normal(scale=0.12)
    return row


def _pinch(rng: np.random.Generator, person: HumanHand, finger: str) -> Matrix:
    """Return a pinch between differently bent fingers, the others anywhere."""
    row = FINGERS.index(finger)
    near = _posture_of(rng, person, "mixture", [], ())
    near[0] = rng.normal((1.00, 0.80, 0.45, 0.50), 0.2)
    near[row, 1:] = rng.normal((0.75, 0.90, 0.45), 0.2)
    angles = _bounded(person.pinch(finger, near=near))
    tips = person.keypoints(angles)[4::4]
    if np.linalg.norm(tips[row] - tips[0]) > 0.008:
        angles = person.pinch(finger)
    return angles


def _bounded(angles: Matrix) -> Matrix:
    bounded: Matrix = np.clip(angles, _LOW, _HIGH)
    return bounded
