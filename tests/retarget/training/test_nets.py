import numpy as np
import pytest
import torch

from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.retarget import HumanProportions
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.learned import RESIDUAL_SHARE, Layout, LearnedMap
from dexhil.retarget.model import FingerModel
from dexhil.retarget.synthetic import sample_postures
from dexhil.retarget.training.nets import Batch, HandMap, JointMap, contacts, fingerprint
from dexhil.retarget.training.torch_hand import tensor
from dexhil.retarget.training.train import TrainConfig, train_two_stage

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
SAMPLE = sample_postures(np.random.default_rng(0), 200, frames_per_person=20)
BATCH = Batch(tensor(SAMPLE.points), tensor(SAMPLE.reaches))


def scrambled(hand: str) -> HandMap:
    """A map whose residual does something."""
    torch.manual_seed(0)
    map_ = HandMap(load_kinematics(hand))
    map_.fit_inputs(BATCH)
    assert map_.residual is not None
    torch.nn.init.normal_(map_.residual.weights[-1], std=3.0)
    return map_


@pytest.mark.parametrize("hand", HANDS)
def test_every_drive_belongs_to_exactly_one_network(hand: str) -> None:
    kinematics = load_kinematics(hand)
    layout = Layout.of(kinematics, FingerModel(kinematics))
    drives = [drive for own in layout.own for drive in own] + list(layout.shared)
    assert sorted(drives) == list(range(len(kinematics.joint_names)))


def test_a_motor_that_spreads_three_fingers_is_shared() -> None:
    kinematics = load_kinematics("dexhand021")
    layout = Layout.of(kinematics, FingerModel(kinematics))
    assert [kinematics.joint_names[drive] for drive in layout.shared] == ["ff_spr"]
    assert HandMap(kinematics).shared is not None
    assert HandMap(load_kinematics("leap")).shared is None


@pytest.mark.parametrize("hand", HANDS)
def test_joints_stay_within_limits_however_wild_the_networks(hand: str) -> None:
    map_ = scrambled(hand)
    for parameter in map_.parameters():
        torch.nn.init.normal_(parameter, std=5.0)
    low, high = map_.hand.limits.T
    q = map_(BATCH).q
    assert (q >= low - 1e-6).all()  # To float32; the run time is exact.
    assert (q <= high + 1e-6).all()


def test_a_finger_answers_to_its_own_keypoints_only() -> None:
    map_ = scrambled("allegro")
    moved = BATCH.points.clone()
    moved[:, 9:13] += 0.003  # The middle finger's.
    change = (map_(Batch(moved, BATCH.reaches)).q - map_(BATCH).q).abs().amax(0)
    own = map_.layout.own
    assert (change[list(own[2])] > 1e-3).all()
    assert (change[list(own[1] + own[3])] == 0.0).all()


def test_the_residual_starts_at_zero_and_is_bounded() -> None:
    torch.manual_seed(0)
    map_ = HandMap(load_kinematics("leap"))
    map_.fit_inputs(BATCH)
    torch.testing.assert_close(map_(BATCH).q, map_.without_residual(BATCH).q, rtol=0, atol=0)
    wild = scrambled("leap")
    thumb = list(wild.layout.own[0])
    turn = (wild(BATCH).q - wild.without_residual(BATCH).q).abs()
    low, high = wild.hand.limits[thumb].T
    assert (turn[:, thumb] <= RESIDUAL_SHARE * (high - low) / 2.0 + 1e-5).all()
    assert turn[:, thumb].max() > 0.1
    assert turn[:, [i for i in range(16) if i not in thumb]].max() == 0.0


def test_standardising_a_trained_residual_anew_changes_no_answer() -> None:
    map_ = scrambled("leap")
    before = map_(BATCH).q
    assert map_.residual is not None
    mean = map_.residual.mean.clone()
    with torch.no_grad():
        map_.fingers.biases[-1] += 0.5  # The robot's fingertips are elsewhere now.
        moved = map_(BATCH).q
        map_.refit_residual(BATCH)
        again = map_(BATCH).q
    assert (moved - before).abs().max() > 0.05
    assert (map_.residual.mean - mean).abs().max() > 0.01
    torch.testing.assert_close(again, moved, rtol=0, atol=1e-4)


def test_the_thumb_sees_where_the_other_fingertips_are() -> None:
    map_ = scrambled("leap")
    moved = BATCH.points.clone()
    moved[:, 5:9] += 0.01
    change = (map_(Batch(moved, BATCH.reaches)).q - map_(BATCH).q).abs().amax(0)
    assert (change[list(map_.layout.own[0])] > 1e-3).any()


def test_contact_rises_smoothly_as_the_gap_closes() -> None:
    points = torch.zeros(61, 21, 3)
    points[:, 8, 0] = torch.linspace(0.0, 0.06, 61)
    share = contacts(Batch(points, torch.ones(61, 5)), (0, 1))[:, 0]
    assert share[0] > 0.97
    assert share[-1] < 0.01
    assert share[20] == pytest.approx(0.5)
    assert (share.diff() < 0.0).all()
    assert share.diff().abs().max() < 0.06


def test_a_map_does_not_mind_the_size_of_hands_out_of_contact() -> None:
    map_ = scrambled("leap")
    far = contacts(BATCH, map_.layout.rows).amax(1) < 1e-3
    batch = Batch(BATCH.points[far], BATCH.reaches[far])
    larger = Batch(1.2 * batch.points, 1.2 * batch.reaches)
    torch.testing.assert_close(map_(batch).q, map_(larger).q, rtol=0, atol=2e-2)


def test_one_joint_network_has_as_many_weights_as_the_small_ones_together() -> None:
    kinematics = load_kinematics("leap")
    small, joint = (
        sum(parameter.numel() for parameter in map_.parameters())
        for map_ in (HandMap(kinematics), JointMap(kinematics))
    )
    assert 0.9 < joint / small < 1.5


def test_a_fingerprint_tells_any_change() -> None:
    map_ = scrambled("inspire")
    before = fingerprint(map_.fingers)
    assert fingerprint(map_.fingers) == before
    with torch.no_grad():
        map_.fingers.biases[1][0, 0, 3] += 1e-6
    assert fingerprint(map_.fingers) != before


@pytest.mark.parametrize("hand", ["leap", "dexhand021"])
def test_a_weights_file_answers_as_the_network_did(
    hand: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[HandMap] = []

    def fit(*_: object) -> HandMap:
        kept.append(scrambled(hand))
        return kept[0]

    monkeypatch.setattr("dexhil.retarget.training.train.fit_two_stage", fit)
    kinematics = load_kinematics(hand)
    arrays = train_two_stage(kinematics, config=TrainConfig(samples=10))
    loaded = LearnedMap(kinematics, arrays, "trained just now")
    expected = kept[0](BATCH).q.detach().numpy()
    for points, reaches, row in zip(SAMPLE.points, SAMPLE.reaches, expected, strict=True):
        q = loaded(points, HumanProportions(reaches=reaches))
        np.testing.assert_allclose(q, row, atol=1e-4)


def test_only_what_is_shipped_can_be_saved() -> None:
    from dexhil.retarget.training.nets import weights_of

    with pytest.raises(RetargetError, match="shipped kind"):
        weights_of(HandMap(load_kinematics("leap"), meet=False))
