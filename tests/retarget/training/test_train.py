import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.retarget import HumanHand
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.keypoints import TIPS
from dexhil.retarget.synthetic import make_clip
from dexhil.retarget.training import losses, train
from dexhil.retarget.training.losses import LossWeights
from dexhil.retarget.training.nets import Answer, Batch, HandMap, contacts, fingerprint

LEAP = load_kinematics("leap")
SMALL = train.TrainConfig(steps=15, samples=300, batch=64)
DATA = train.synthetic_batch(LEAP, SMALL)
MAP = HandMap(LEAP)
ROWS = list(MAP.layout.rows)


def wanted_tips(batch: Batch) -> Tensor:
    reaches = torch.tensor(MAP.layout.reaches, dtype=torch.float32)
    return batch.points[:, TIPS[ROWS]] * (reaches / batch.reaches[:, ROWS])[..., None]


def test_the_vector_cost_is_half_the_squared_error_in_centimetres() -> None:
    answer = Answer(torch.zeros(300, 16), wanted_tips(DATA))
    assert losses.vector_terms(answer, DATA, MAP).max() < 1e-8
    shifted = answer._replace(tips=answer.tips + torch.tensor([0.0, 0.02, 0.0]))
    torch.testing.assert_close(
        losses.vector_terms(shifted, DATA, MAP), torch.full((300, 4), 2.0), rtol=1e-4, atol=0
    )


def test_contact_asks_fingertips_to_meet_and_distance_does_not() -> None:
    weights = LossWeights()
    answer = Answer(torch.zeros(300, 16), wanted_tips(DATA))
    touching = contacts(DATA, MAP.layout.rows).amax(1) > 0.95
    apart = contacts(DATA, MAP.layout.rows).amax(1) < 0.01
    assert touching.any()
    assert apart.any()
    met = answer.tips.clone()
    met[:] = met[:, :1]

    def kin(tips: Tensor, rows: Tensor) -> float:
        part = Batch(DATA.points[rows], DATA.reaches[rows])
        return float(losses.kin_term(Answer(answer.q[rows], tips[rows]), part, MAP, weights))

    assert kin(met, apart) > 10.0 * kin(answer.tips, apart)
    pinch = losses.pinch_term(answer._replace(tips=met), DATA, MAP.layout.rows, hard=False)
    assert float(pinch) < 1e-6 < float(losses.pinch_term(answer, DATA, MAP.layout.rows, hard=True))


def test_in_contact_a_touch_is_nearer_the_wish_than_the_persons_own_small_gap() -> None:
    points = torch.zeros(1, 21, 3)
    points[0, TIPS[ROWS]] = torch.tensor(
        [[0.08, 0.02, 0.10], [0.08, 0.033, 0.10], [0.03, 0.0, 0.19], [0.03, -0.02, 0.18]]
    )
    batch = Batch(points, torch.full((1, 5), 0.16))
    copied = float(np.mean(MAP.layout.reaches)) / 0.16 * points[:, TIPS[ROWS]]
    touching = copied.clone()
    touching[:, 1] = touching[:, 0]
    answers = [Answer(torch.zeros(1, 16), tips) for tips in (touching, copied)]
    costs = [float(losses.kin_term(answer, batch, MAP, LossWeights())) for answer in answers]
    assert costs[0] < 0.5 * costs[1]


def test_bends_are_those_of_the_person() -> None:
    straight, bent = np.zeros((5, 4)), np.zeros((5, 4))
    bent[1:, 1:] = (0.5, 0.9, 0.3)
    points = np.array([HumanHand().keypoints(row) for row in (straight, bent)])
    batch = Batch(torch.tensor(points, dtype=torch.float32), torch.ones(2, 5))
    expected = torch.tensor([[0.0] * 4, [1.7] * 4])
    torch.testing.assert_close(losses.bends(batch, [1, 2, 3, 4]), expected, rtol=0, atol=1e-4)


def test_a_closed_finger_must_close_the_robots_finger() -> None:
    closed = losses.bends(DATA, ROWS[1:]).amin(1) > np.pi
    part = Batch(DATA.points[closed], DATA.reaches[closed])
    open_hand = Answer(torch.zeros(len(part.points), 16), torch.zeros(len(part.points), 4, 3))
    paper = replace(LossWeights(), closing=0.0, closed=0.0)
    assert losses.closing_terms(open_hand, part, MAP, LossWeights()).min() > 5.0
    assert losses.closing_terms(open_hand, part, MAP, paper).max() == 0.0


def test_direction_is_minus_one_and_flatness_zero_for_a_map_that_copies() -> None:
    generator = torch.Generator().manual_seed(0)
    there, steps = losses.motions(MAP, DATA, [0, 2], generator)
    human = [ROWS[0], ROWS[2]]
    tips, moved = DATA.points[:, TIPS[human]], there.points[:, TIPS[human]]
    direction, flat = losses.motion_terms(tips, moved, steps)
    assert float(direction) == pytest.approx(-1.0, abs=1e-3)
    assert float(flat) < 1e-6
    assert float(losses.motion_terms(tips, moved, -steps)[0]) == pytest.approx(1.0, abs=1e-3)
    around = losses.between(DATA, 100)
    smooth = losses.smooth_term(tips[:100], around.points[:, TIPS[human]])
    assert float(smooth) < 1e-6


def test_cover_is_the_squared_chamfer_distance_both_ways() -> None:
    a = torch.zeros(5, 1, 3)
    b = torch.zeros(7, 1, 3)
    b[0, 0, 0] = 0.02
    # From a: 0. From b: one of seven is 2 cm away.
    assert float(losses.cover_term(a, b)) == pytest.approx(4.0 / 7.0, rel=1e-4)
    assert float(losses.cover_term(b, a)) == pytest.approx(4.0 / 7.0, rel=1e-4)


def test_stage_two_leaves_the_fingers_alone_to_the_bit() -> None:
    seen: dict[str, set[str]] = {"fingers": set(), "thumb": set()}
    maps: list[HandMap] = []

    class Spy(HandMap):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__(LEAP)
            maps.append(self)

    def note(stage: str, *_: object) -> None:
        seen[stage].add(fingerprint(maps[0].fingers))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "HandMap", Spy)
        train.fit_two_stage(LEAP, DATA, SMALL, note)
    assert len(seen["fingers"]) == SMALL.steps
    assert len(seen["thumb"]) == 1


@pytest.mark.parametrize("meet", [True, False])
def test_the_residual_learns_in_stage_one_only_to_meet(meet: bool) -> None:
    maps: list[HandMap] = []
    answers: list[tuple[str, Tensor]] = []

    class Spy(HandMap):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__(LEAP, meet=meet)
            maps.append(self)

        def refit_residual(self, batch: Batch) -> None:
            answers.append(("before", self(batch).q))
            super().refit_residual(batch)
            answers.append(("after", self(batch).q))

    turns: dict[str, list[float]] = {"fingers": [], "thumb": []}

    def note(stage: str, *_: object) -> None:
        with torch.no_grad():
            turned = maps[0](DATA).q - maps[0].without_residual(DATA).q
        turns[stage].append(float(turned.abs().max()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "HandMap", Spy)
        train.fit_two_stage(LEAP, DATA, replace(SMALL, meet=meet), note)
    assert (turns["fingers"][-1] > 0.0) == meet
    assert turns["thumb"][-1] > 0.0
    if meet:
        (_, before), (_, after) = answers
        torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_fingers_that_change_in_stage_two_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = iter(["before", "after"])
    monkeypatch.setattr(train, "fingerprint", lambda _: next(prints))
    with pytest.raises(RetargetError, match="frozen fingers changed"):
        train.fit_two_stage(LEAP, DATA, replace(SMALL, steps=1))


@pytest.mark.parametrize("fit", [train.fit_two_stage, train.fit_joint, train.fit_geort])
def test_training_lowers_the_loss_of_every_stage(fit: train.Fit) -> None:
    history: dict[str, list[float]] = {}

    def note(stage: str, _: int, __: int, loss: float) -> None:
        history.setdefault(stage, []).append(loss)

    fit(LEAP, DATA, replace(SMALL, steps=60), note)
    for values in history.values():
        assert np.mean(values[-10:]) < np.mean(values[:10])


def test_a_seed_gives_the_same_weights() -> None:
    first, second, other = (
        train.train_two_stage(LEAP, seed=seed, steps=3, config=SMALL) for seed in (1, 1, 2)
    )
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    assert np.abs(first["fingers.w0"] - other["fingers.w0"]).max() > 0.01


def test_a_persons_clip_joins_the_data_with_their_own_reaches() -> None:
    clip = make_clip(1, 40, size=0.9)
    data = train.with_clip(DATA, clip, 0.3)
    assert 0.2 < 1.0 - len(DATA.points) / len(data.points) < 0.4
    assert len(torch.unique(data.reaches[len(DATA.points) :], dim=0)) == 1
    arrays = train.train_two_stage(LEAP, clip=clip, steps=2, config=SMALL)
    assert json.loads(str(arrays["metadata"]))["clip_frames"] == 40


def test_frames_of_a_clip_without_a_right_hand_are_left_out() -> None:
    clip = make_clip(1, 40, size=0.9)
    glitched = clip.copy()
    glitched[[0, 7]] = np.nan
    glitched[9] = 0.0
    glitched[20] *= 1e3
    sound = np.delete(clip, [0, 7, 9, 20], axis=0)
    for one, other in zip(
        train.with_clip(DATA, glitched, 0.3), train.with_clip(DATA, sound, 0.3), strict=True
    ):
        torch.testing.assert_close(one, other)
    arrays = train.train_two_stage(LEAP, clip=glitched, steps=1, config=SMALL)
    assert json.loads(str(arrays["metadata"]))["clip_frames"] == 36


@pytest.mark.parametrize(
    ("clip", "why"),
    [
        (np.full((5, 21, 3), np.nan), "not finite"),
        (np.empty((0, 21, 3)), "empty"),
        (np.zeros((5, 20, 3)), r"shape \(20, 3\)"),
    ],
)
def test_a_clip_without_any_right_hand_is_refused(clip: Matrix, why: str) -> None:
    with pytest.raises(RetargetError, match=f"no frame of the clip shows a right hand. .*{why}"):
        train.train_two_stage(LEAP, clip=clip, config=SMALL)


def test_a_left_hand_is_not_trained() -> None:
    with pytest.raises(RetargetError, match="train the right hand"):
        train.train_two_stage(load_kinematics("leap", "left"))


def test_a_loss_that_runs_away_is_an_error() -> None:
    broken = Batch(DATA.points * torch.nan, DATA.reaches)
    with pytest.raises(RetargetError, match="loss of fingers is nan at step 0"):
        train.fit_two_stage(LEAP, broken, SMALL)
