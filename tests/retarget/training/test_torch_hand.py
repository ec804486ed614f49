import numpy as np
import pytest
import torch

from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.retarget.training.torch_hand import TorchHand

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")


@pytest.mark.parametrize("hand", HANDS)
def test_fingertips_are_those_of_the_compiled_hand(hand: str) -> None:
    torch_hand = TorchHand(load_kinematics(hand), torch.float64)
    model = torch_hand.model
    q = np.random.default_rng(0).uniform(*model.limits.T, (50, model.n_joints))
    expected = np.array([model.tips(row) for row in q])
    np.testing.assert_allclose(torch_hand(torch.tensor(q)).numpy(), expected, atol=1e-9)
    single = TorchHand(load_kinematics(hand))(torch.tensor(q, dtype=torch.float32))
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("hand", HANDS)
def test_slopes_are_those_of_the_compiled_hand(hand: str) -> None:
    torch_hand = TorchHand(load_kinematics(hand), torch.float64)
    model = torch_hand.model
    q = np.random.default_rng(1).uniform(*model.limits.T)
    slopes = torch.autograd.functional.jacobian(torch_hand, torch.tensor(q)[None])
    np.testing.assert_allclose(slopes[0, :, :, 0].numpy(), model.jacobian(q), atol=1e-9)


def test_samples_follow_the_seed_and_stay_within_reach() -> None:
    hand = TorchHand(load_kinematics("inspire"))
    tips = hand.sample_tips(200, seed=3)
    torch.testing.assert_close(tips, hand.sample_tips(200, seed=3), rtol=0, atol=0)
    assert not torch.equal(tips, hand.sample_tips(200, seed=4))
    farthest = torch.linalg.vector_norm(tips, dim=2).amax(0).numpy()
    assert (farthest <= hand.model.reach(np.zeros(3)) + 1e-3).all()
