from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.retarget import HumanHand, HumanProportions, Retargeter
from dexhil.retarget.human import POSTURES
from dexhil.retarget.kernels.arrays import Capsules, Chains, Goals
from dexhil.retarget.kernels.goals import goals_of
from dexhil.retarget.kernels.links import capsule_ends, far_apart, forward, nearest
from dexhil.retarget.kernels.solver import add_overlaps, cholesky_solve, normal_equations, solve

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
HUMAN = HumanHand()
SEEDS = st.integers(0, 2**32 - 1)


@cache
def retargeter_of(hand: str) -> Retargeter:
    return Retargeter(load_kinematics(hand))


class Problem:
    """A frame of some person, and where the robot hand starts from."""

    def __init__(self, hand: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.retargeter = retargeter_of(hand)
        self.hand = (self.retargeter.model.chains, self.retargeter.model.capsules)
        self.task = self.retargeter._setup.task
        mixed = rng.dirichlet(np.full(len(POSTURES), 0.5))
        angles = np.tensordot(mixed, np.array(list(POSTURES.values())), axes=1)
        points = HUMAN.keypoints(angles) + rng.normal(scale=0.005, size=(21, 3))
        self.goals: Goals = goals_of(self.task, points)
        self.low, self.high = self.retargeter.model.limits.T
        self.start, self.q = rng.uniform(self.low, self.high, (2, len(self.low)))

    def cost(self, q: Vector) -> float:
        return float(normal_equations(self.hand, self.task, self.goals, self.start, q)[2])

    def overlaps(self, q: Vector) -> tuple[Matrix, Vector, float]:
        n = len(q)
        pose = forward(self.hand[0], q)
        hessian, downhill = np.zeros((n, n)), np.zeros(n)
        aims = (self.task, self.goals)
        cost = add_overlaps(self.hand, aims, pose, hessian, downhill)
        return hessian, downhill, cost


# -- Derivatives -----------------------------------------------------------------


def slope_of(function: object, q: Vector, nudge: float = 1e-6) -> Vector:
    assert callable(function)
    return np.array(
        [
            (function(q + nudge * unit) - function(q - nudge * unit)) / (2.0 * nudge)
            for unit in np.eye(len(q))
        ]
    )


@given(hand=st.sampled_from(HANDS), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_downhill_gradient_is_that_of_the_whole_cost(hand: str, seed: int) -> None:
    problem = Problem(hand, seed)
    _, downhill, cost = normal_equations(
        problem.hand, problem.task, problem.goals, problem.start, problem.q
    )
    measured = slope_of(problem.cost, problem.q)
    np.testing.assert_allclose(-2.0 * downhill, measured, rtol=1e-4, atol=1e-6 * max(cost, 1e-2))


@pytest.mark.parametrize("hand", HANDS)
def test_the_cost_is_the_one_that_the_module_writes_down(hand: str) -> None:
    problem = Problem(hand, 3)
    task, goals, q = problem.task, problem.goals, problem.q
    tips = problem.retargeter.model.tips(q)
    pairs = goals.pair_roots**2 * ((tips - tips[0] - goals.pairs) ** 2).sum(axis=1)
    expected = (
        ((tips - goals.tips) ** 2).sum()
        + pairs[1:].sum()
        + (goals.posture_weights * (q - goals.posture) ** 2).sum()
        + task.stay_weight * ((q - problem.start) ** 2).sum()
        + problem.overlaps(q)[2]
    )
    assert problem.cost(q) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("hand", ["leap", "allegro", "shadow"])
def test_links_that_meet_are_pushed_apart_along_the_slope_of_their_depth(hand: str) -> None:
    met = 0
    for seed in range(60):
        problem = Problem(hand, seed)
        hessian, downhill, cost = problem.overlaps(problem.q)
        if cost == 0.0:
            assert not hessian.any()
            assert not downhill.any()
            continue
        met += 1
        measured = slope_of(lambda q, p=problem: p.overlaps(q)[2], problem.q)
        np.testing.assert_allclose(-2.0 * downhill, measured, rtol=1e-3, atol=1e-7)
    assert met > 10


@given(hand=st.sampled_from(HANDS), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_hessian_is_positive_definite(hand: str, seed: int) -> None:
    problem = Problem(hand, seed)
    lower, _, _ = normal_equations(
        problem.hand, problem.task, problem.goals, problem.start, problem.q
    )
    whole = np.tril(lower) + np.tril(lower, -1).T
    assert np.linalg.eigvalsh(whole).min() >= 0.9 * problem.task.stay_weight


# -- Solving ---------------------------------------------------------------------


@given(hand=st.sampled_from(HANDS), seed=SEEDS, reach=st.floats(0.0, 3.0))
@settings(max_examples=200, deadline=None)
def test_a_solve_never_makes_it_worse_and_never_leaves_the_box(
    hand: str, seed: int, reach: float
) -> None:
    problem = Problem(hand, seed)
    start = problem.start
    box = np.array(
        [np.maximum(problem.low, start - reach), np.minimum(problem.high, start + reach)]
    )
    q = start.copy()
    assert solve(problem.hand, problem.task, problem.goals, q, box)
    assert problem.cost(q) <= problem.cost(start)
    assert (q >= box[0]).all()
    assert (q <= box[1]).all()


@pytest.mark.parametrize("hand", HANDS)
def test_after_enough_steps_only_joints_at_a_bound_still_want_to_move(hand: str) -> None:
    for seed in range(5):
        problem = Problem(hand, seed)
        q, box = problem.start.copy(), np.array([problem.low, problem.high])
        task = problem.task._replace(steps=300)
        assert solve(problem.hand, task, problem.goals, q, box)
        _, downhill, _ = normal_equations(problem.hand, task, problem.goals, problem.start, q)
        at_low, at_high = q <= problem.low, q >= problem.high
        assert np.abs(downhill[~at_low & ~at_high]).max() < 1e-6
        assert (downhill[at_low] <= 1e-6).all()
        assert (downhill[at_high] >= -1e-6).all()


def test_a_solve_that_cannot_be_done_says_so_and_moves_nothing() -> None:
    problem = Problem("leap", 0)
    box = np.array([problem.low, problem.high])
    q = problem.start.copy()
    task = problem.task._replace(damping=-1.0)
    assert not solve(problem.hand, task, problem.goals, q, box)
    np.testing.assert_array_equal(q, problem.start)
    goals = problem.goals._replace(tips=np.full_like(problem.goals.tips, np.nan))
    assert not solve(problem.hand, problem.task, goals, q, box)
    np.testing.assert_array_equal(q, problem.start)


@given(n=st.integers(1, 24), seed=SEEDS)
def test_equations_are_solved_from_the_lower_triangle_alone(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    matrix = root @ root.T + np.eye(n)
    vector = rng.normal(size=n)
    lower, solution = np.tril(matrix) + np.triu(rng.normal(size=(n, n)), 1), vector.copy()
    assert cholesky_solve(lower, solution)
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, vector), rtol=1e-7, atol=1e-9)


@given(n=st.integers(1, 16), seed=SEEDS, bad=st.sampled_from([-1.0, 0.0, np.nan]))
def test_a_matrix_that_is_not_positive_definite_is_told(n: int, seed: int, bad: float) -> None:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(n, n)))
    values = rng.uniform(0.5, 2.0, n)
    values[int(rng.integers(n))] = bad if bad else -1e-6
    assert not cholesky_solve((turn * values) @ turn.T, np.ones(n))


# -- Round links -----------------------------------------------------------------


def capsules(radii: Vector, ends: Matrix, pairs: list[tuple[int, int]]) -> Capsules:
    starts, stops = ends[0::2], ends[1::2]
    return Capsules(
        fingers=np.arange(len(radii)),
        rows=np.arange(len(radii)),
        starts=starts.copy(),
        ends=stops.copy(),
        radii=radii,
        outer=radii + np.linalg.norm(stops - starts, axis=1) / 2.0,
        pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        pinches=np.full(len(pairs), -1),
    )


def plain_distance(ends: Matrix) -> float:
    """The distance along the first axis to the second is convex: close in on its minimum."""

    def to_second(share: float) -> float:
        point = ends[0] + share * (ends[1] - ends[0])
        along = ends[3] - ends[2]
        square = along @ along
        t = np.clip((point - ends[2]) @ along / square, 0.0, 1.0) if square > 0.0 else 0.0
        return float(np.linalg.norm(point - ends[2] - t * along))

    low, high = 0.0, 1.0
    for _ in range(80):
        a, b = low + (high - low) / 3.0, high - (high - low) / 3.0
        low, high = (low, b) if to_second(a) < to_second(b) else (a, high)
    return min(to_second(share) for share in (0.0, low, 1.0))


POINTS = hnp.arrays(np.float64, 3, elements=st.floats(-0.1, 0.1))


@st.composite
def two_axes(draw: st.DrawFn) -> Matrix:
    """Two axes: any, parallel ones, one in the other's line, or without length."""
    a, b, c = draw(POINTS), draw(POINTS), draw(POINTS)
    kind = draw(
        st.sampled_from(["any", "parallel", "line", "first point", "second point", "points"])
    )
    if kind == "parallel":
        d = c + draw(st.floats(-2.0, 2.0)) * (b - a)
    elif kind == "line":
        shares = draw(st.tuples(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0)))
        c, d = (a + share * (b - a) for share in shares)
    else:
        d = draw(POINTS)
    if kind in ("first point", "points"):
        b = a
    if kind in ("second point", "points"):
        d = c
    return np.array([a, b, c, d])


@given(ends=two_axes())
@settings(max_examples=400, deadline=None)
def test_the_nearest_points_of_two_axes_are_the_nearest(ends: Matrix) -> None:
    points = np.empty((2, 3))
    distance = nearest(ends, 0, 1, points)
    # Axes within 30 microradians count as parallel.
    assert distance == pytest.approx(plain_distance(ends), abs=2e-5)
    assert distance == pytest.approx(np.linalg.norm(points[0] - points[1]), abs=1e-12)
    for point, (start, end) in zip(points, ends.reshape(2, 2, 3), strict=True):
        detour = np.linalg.norm(point - start) + np.linalg.norm(point - end)
        assert detour == pytest.approx(np.linalg.norm(end - start), abs=1e-9)


@given(ends=two_axes())
@settings(max_examples=100, deadline=None)
def test_two_axes_are_as_far_from_each_other_either_way(ends: Matrix) -> None:
    points = np.empty((2, 3))
    there, back = (nearest(ends, a, b, points) for a, b in ((0, 1), (1, 0)))
    assert there == pytest.approx(back, abs=2e-5)


@given(ends=two_axes(), radii=st.tuples(st.floats(0.0, 0.1), st.floats(0.0, 0.1)))
@settings(max_examples=400, deadline=None)
def test_capsules_that_overlap_are_never_called_far_apart(
    ends: Matrix, radii: tuple[float, float]
) -> None:
    both = capsules(np.array(radii), ends, [(0, 1)])
    depth = sum(radii) - nearest(ends, 0, 1, np.empty((2, 3)))
    assume(depth > 1e-12)
    assert not far_apart(both, ends, 0, 1)


def test_capsules_far_from_each_other_are_called_so() -> None:
    ends = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.04], [0.1, 0.0, 0.0], [0.1, 0.0, 0.04]])
    assert far_apart(capsules(np.array([0.01, 0.01]), ends, []), ends, 0, 1)


@pytest.mark.parametrize("gap", [0.0, 0.002, 0.012])
@pytest.mark.parametrize(("pinch", "share"), [(-1, 1.0), (1, 0.25)])
def test_spheres_part_where_there_is_a_side_and_no_pinch_in_the_way(
    gap: float, pinch: int, share: float
) -> None:
    # Two fingers side by side, each a sphere on an arm along z that turns about y.
    arms = np.array([[0.0, 0.0, 0.05], [0.0, 0.0, 0.05]])
    chains = Chains(
        starts=np.array([0, 1, 2]),
        positions=np.array([[0.0, 0.0, 0.0], [gap, 0.0, 0.0]]),
        rotations=np.array([np.eye(3), np.eye(3)]),
        axes=np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]),
        columns=np.array([0, 1]),
        multipliers=np.ones(2),
        offsets=np.zeros(2),
        tips=arms,
    )
    spheres = capsules(np.array([0.005, 0.005]), np.repeat(arms, 2, axis=0), [(0, 1)])
    spheres = spheres._replace(pinches=np.array([pinch]))
    goals = Problem("leap", 0).goals._replace(contacts=np.array([0.0, 0.5, 0.0, 0.0]))
    task = retargeter_of("leap")._setup.task._replace(overlap_weight=2.0, allowed_overlap=0.001)
    hessian, downhill = np.zeros((2, 2)), np.zeros(2)
    pose = forward(chains, np.zeros(2))
    cost = add_overlaps((chains, spheres), (task, goals), pose, hessian, downhill)
    depth = 0.009 - gap if 0.0 < gap < 0.009 else 0.0
    assert cost == pytest.approx(share * 2.0 * depth**2)
    pushed = share * 2.0 * depth * 0.05
    np.testing.assert_allclose(downhill, [-pushed, pushed], atol=1e-12)


@pytest.mark.parametrize("hand", HANDS)
def test_links_of_different_fingers_may_not_meet_but_thumb_and_finger_may_pinch(
    hand: str,
) -> None:
    model = retargeter_of(hand).model
    links, last = model.capsules, set((model.chains.starts[1:] - 1).tolist())
    expected = {}
    for a in range(len(links.rows)):
        for b in range(a + 1, len(links.rows)):
            first, second = int(links.fingers[a]), int(links.fingers[b])
            if first != second:
                tips = first == 0 and {int(links.rows[a]), int(links.rows[b])} <= last
                expected[a, b] = second if tips else -1
    pairs = [tuple(pair) for pair in links.pairs.tolist()]
    assert dict(zip(pairs, links.pinches.tolist(), strict=True)) == expected
    assert len(pairs) == len(expected)
    assert {pinch for pinch in expected.values() if pinch > 0} == set(range(1, len(model.fingers)))


@pytest.mark.parametrize("hand", HANDS)
def test_ends_of_capsules_move_with_their_links(hand: str) -> None:
    problem = Problem(hand, 1)
    chains, links = problem.hand
    pose = forward(chains, problem.q)
    ends = capsule_ends(links, pose).reshape(-1, 2, 3)
    for row, start, end, placed in zip(links.rows, links.starts, links.ends, ends, strict=True):
        rotation, origin = pose.rotations[row], pose.origins[row]
        np.testing.assert_allclose(placed, [rotation @ start + origin, rotation @ end + origin])


# -- What the person asks for ----------------------------------------------------


def goals_at(gap: float, *, touch_gap: float = 0.0) -> Goals:
    """Goals of LEAP for a hand whose index tip is ``gap`` from the thumb's."""
    human = HumanProportions(
        reaches=HUMAN.proportions.reaches, touch_gaps=np.array([touch_gap, 0.0, 0.0, 0.0])
    )
    task = Retargeter(load_kinematics("leap"), human=human)._setup.task
    points = HUMAN.keypoints(POSTURES["relaxed"])
    points[8] = points[4] + np.array([0.0, 0.0, gap])
    goals: Goals = goals_of(task, points)
    return goals


def test_a_pair_far_apart_is_a_scaled_vector_and_one_in_contact_is_a_touch() -> None:
    task = retargeter_of("leap")._setup.task
    far, near = goals_at(0.08), goals_at(0.002)
    np.testing.assert_allclose(far.pairs[1], [0.0, 0.0, 0.08 * task.scales.mean()], atol=1e-6)
    assert far.contacts[1] < 1e-3
    assert near.contacts[1] > 0.98
    assert far.pair_roots[1] ** 2 == pytest.approx(task.pair_weight, rel=1e-3)
    assert np.linalg.norm(near.pairs[1]) < 1e-4
    assert near.pair_roots[1] ** 2 == pytest.approx(task.contact_weight, rel=0.02)
    assert not near.pairs[0].any()


def test_contact_comes_on_without_a_jump() -> None:
    gaps = np.linspace(0.0, 0.06, 601)
    weights = np.array([goals_at(gap).pair_roots[1] ** 2 for gap in gaps[::20]])
    assert (np.diff(weights) <= 0.0).all()
    targets = [np.linalg.norm(goals_at(gap).pairs[1]) for gap in (0.0215, 0.0216)]
    assert abs(targets[1] - targets[0]) < 1e-3


def test_a_gap_that_shows_at_touch_counts_as_none() -> None:
    shown, real = goals_at(0.018, touch_gap=0.018), goals_at(0.0)
    assert shown.pair_roots[1] == pytest.approx(real.pair_roots[1])
    assert np.linalg.norm(shown.pairs[1]) < 1e-4
