"""A learned map's forward pass."""

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.retarget.kernels.arrays import Chains, Floats, Net, Nets, Person
from dexhil.retarget.kernels.jit import compiled

CONTACT_M = 0.02
CONTACT_WIDTH_M = 0.005


@compiled
def dense(weight: Floats, bias: Floats, x: Floats) -> Floats:
    """Return x @ weight + bias."""
    out = bias.copy()
    for i in range(len(x)):  # Row by row: this order needs no sums, which compile to slow code.
        value = x[i]
        for j in range(len(out)):
            out[j] += value * weight[i, j]
    return out


@compiled
def silu(x: Floats) -> None:
    """Replace x by x / (1 + exp(-x))."""
    for i in range(len(x)):
        x[i] = x[i] / (np.float32(1.0) + np.exp(-x[i]))


@compiled
def apply(net: Net, x: Floats) -> Floats:
    """Return the outputs of one network."""
    x = dense(net.w0, net.b0, x)
    silu(x)
    x = dense(net.w1, net.b1, x)
    silu(x)
    out: Floats = dense(net.w2, net.b2, x)
    return out


@compiled
def tip_of(chains: Chains, q: Vector, finger: int) -> tuple[float, float, float]:
    """Return a fingertip in the root frame [m], from the tip to the root."""
    x, y, z = chains.tips[finger]
    for row in range(chains.starts[finger + 1] - 1, chains.starts[finger] - 1, -1):
        a, b, c = chains.axes[row]
        angle = chains.multipliers[row] * q[chains.columns[row]] + chains.offsets[row]
        sine, cosine = np.sin(angle), np.cos(angle)
        along = (1.0 - cosine) * (a * x + b * y + c * z)
        x, y, z = (
            cosine * x + sine * (b * z - c * y) + along * a,
            cosine * y + sine * (c * x - a * z) + along * b,
            cosine * z + sine * (a * y - b * x) + along * c,
        )
        r, p = chains.rotations[row], chains.positions[row]
        x, y, z = (
            r[0, 0] * x + r[0, 1] * y + r[0, 2] * z + p[0],
            r[1, 0] * x + r[1, 1] * y + r[1, 2] * z + p[1],
            r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + p[2],
        )
    return x, y, z


@compiled
def clipped(value: float, low: float, high: float) -> float:
    """Return the value within limits; what is no number stays so, which `min` would hide."""
    if value < low:
        return low
    if value > high:
        return high
    return value


@compiled
def place(nets: Nets, column: int, output: float, q: Vector) -> None:
    """Set a joint within its limits from a network's output."""
    low, high = nets.low[column], nets.high[column]
    # Rounding may step over the limit by the last digit.
    q[column] = clipped(low + (high - low) * (0.5 + 0.5 * np.tanh(output)), low, high)


@compiled
def infer(nets: Nets, person: Person, points: Matrix, q: Vector) -> bool:
    """Write joints within the limits [rad]; tell whether all are finite.

    Args:
        nets: Of the hand.
        person: Whose points.
        points: Of a right hand in the palm frame, thumb corrected, divided by the person's size
            [m]. Shape (21, 3).
        q: The answer. Shape (n,).
    """
    reaches, touch_gaps = person.reaches, person.touch_gaps
    n_fingers = len(nets.rows)
    seen = np.empty((n_fingers, 13), dtype=np.float32)
    pairs = np.empty((n_fingers - 1, 3))
    mean_reach = 0.0
    thumb = points[4 * nets.rows[0] + 4]
    for finger in range(n_fingers):
        human = nets.rows[finger]
        mean_reach += reaches[human] / n_fingers
        for k in range(12):
            seen[finger, k] = points[4 * human + 1 + k // 3, k % 3] / reaches[human]
        if finger > 0:
            pairs[finger - 1] = points[4 * human + 4] - thumb
            gap = np.sqrt((pairs[finger - 1] ** 2).sum()) - touch_gaps[human]
            seen[finger, 12] = 1.0 / (1.0 + np.exp((gap - CONTACT_M) / CONTACT_WIDTH_M))
    for finger in range(1, n_fingers):
        f, k = nets.fingers, finger - 1
        outputs = apply(Net(f.w0[k], f.b0[k], f.w1[k], f.b1[k], f.w2[k], f.b2[k]), seen[finger])
        for k in range(len(outputs)):
            if nets.own[finger, k] >= 0:
                place(nets, nets.own[finger, k], outputs[k], q)
    if len(nets.common):
        outputs = apply(nets.shared, seen[1:].copy().reshape(-1))
        for k in range(len(outputs)):
            place(nets, nets.common[k], outputs[k], q)
    outputs = apply(nets.thumb, seen[0, :12])
    for k in range(len(outputs)):
        place(nets, nets.own[0, k], outputs[k], q)
    inputs = np.empty(12 + 7 * (n_fingers - 1), dtype=np.float32)
    inputs[:12] = seen[0, :12]
    for finger in range(1, n_fingers):
        tip, pair = 12 + 3 * (finger - 1), 12 + 3 * (n_fingers - 1) + 3 * (finger - 1)
        robot = tip_of(nets.chains, q, finger)
        for i in range(3):
            inputs[tip + i] = (robot[i] - nets.wrist[i]) / nets.reach
            inputs[pair + i] = pairs[finger - 1, i] / mean_reach
        inputs[12 + 6 * (n_fingers - 1) + finger - 1] = seen[finger, 12]
    outputs = apply(nets.residual, inputs)
    for k in range(len(outputs)):
        column = nets.own[0, k]
        low, high = nets.low[column], nets.high[column]
        turn = nets.share * 0.5 * (high - low) * np.tanh(outputs[k])
        q[column] = clipped(q[column] + turn, low, high)
    return bool(np.isfinite(q).all())


@compiled
def recall(nets: Nets, person: Person, points: Matrix, q: Vector) -> bool:
    """As `infer`, for the points of a person of any size and joints of a hand of either side."""
    seen = points / person.size
    if nets.left:
        seen[:, 1] *= -1.0
    right = np.empty(len(q))
    if not infer(nets, person, seen, right):
        return False
    for joint in range(len(q)):
        q[joint] = nets.signs[joint] * right[nets.order[joint]]
    return True
