import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dexhil.policy.chunks import make_samples
from dexhil.policy.episodes import Episode
from dexhil.policy.errors import PolicyError
from dexhil.policy.flow import FlowPolicy
from dexhil.policy.runner import Runner
from dexhil.policy.trainer import train
from tests.policy.learning import JOINTS, PLACE, STATE, config, episode, observation


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 2**16))
def test_relative_coordinates_round_trip_and_leave_the_others_alone(seed):
    policy = FlowPolicy(config(relative=(1,)))
    rng = np.random.default_rng(seed)
    numbers = torch.from_numpy(rng.normal(size=(5, STATE + PLACE)).astype(np.float32))
    chunks = torch.from_numpy(rng.normal(size=(5, 4, JOINTS)).astype(np.float32))
    relative = policy.to_relative(chunks, numbers)
    torch.testing.assert_close(relative[..., 0], chunks[..., 0])
    torch.testing.assert_close(relative[..., 1], chunks[..., 1] - numbers[:, None, 1])
    torch.testing.assert_close(policy.to_absolute(relative, numbers), chunks)


def test_relative_coordinates_are_found_when_the_state_is_not_the_first_observation():
    swapped = {"observation.environment_state": PLACE, "observation.state": STATE}
    policy = FlowPolicy(config(observations=swapped))
    numbers = torch.arange(float(STATE + PLACE))[None]
    moved = policy.to_relative(torch.zeros(1, 4, JOINTS), numbers)
    assert moved[0, :, 0].tolist() == [-PLACE] * 4


def test_the_loss_is_the_squared_velocity_error_of_equation_11(monkeypatch):
    policy = FlowPolicy(config())
    samples = make_samples([episode(0)], policy.config)
    policy.fit_normalizers(samples.numbers, samples.chunks)
    seen = {}

    def denoise(noisy, time, _context):
        seen.update(noisy=noisy, time=time)
        return 0.3 * noisy

    monkeypatch.setattr(policy, "denoise", denoise)
    with torch.no_grad():
        loss = policy.loss(samples.numbers, samples.images, samples.chunks, noise(7))
        action = policy.chunk_normalizer(policy.to_relative(samples.chunks, samples.numbers))
    time = seen["time"][:, None, None]
    start = (seen["noisy"] - time * action) / (1 - time)
    velocity = (0.3 * seen["noisy"] - seen["noisy"]) / (1 - time)
    expected = (velocity - (action - start)).square().mean(dim=(1, 2))
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-4)
    start_std = float(start.std())
    assert 0.8 < start_std < 1.2  # It is unit noise that the flow starts from.


def test_a_policy_learns_a_tiny_data_set_by_heart():
    demos = [episode(seed) for seed in range(3)]
    wide = config(width=64)
    result = train(demos, wide, steps=700, seed=0, batch=64, learning_rate=3e-3)
    samples = make_samples(demos, wide)
    drawn = result.checkpoint.policy().sample(samples.numbers, samples.images, noise())
    assert float((drawn - samples.chunks).square().mean().sqrt()) < 0.03


def two_ways(n: int = 64) -> Episode:
    """From one and the same observation, half of the actions go left and half go right."""
    sides = np.where(np.arange(n) % 2, 1.0, -1.0)
    columns = {
        "observation.state": np.zeros((n, STATE), np.float32),
        "observation.environment_state": np.zeros((n, PLACE), np.float32),
        "action": np.repeat(sides[:, None], JOINTS, axis=1).astype(np.float32),
        "intervention": np.zeros(n, np.bool_),
    }
    return Episode(columns=columns, task="choose", success=True, fps=20.0)


def test_bimodal_data_gives_both_ways_and_not_their_mean():
    two = config(horizon=1, execute_steps=1, relative=(), width=64, integration_steps=10)
    result = train([two_ways()], two, steps=500, seed=0, batch=64, learning_rate=3e-3)
    policy = result.checkpoint.policy()
    n = 200
    drawn = policy.sample(
        torch.zeros(n, STATE + PLACE), torch.empty(n, 0, 3, 64, 64, dtype=torch.uint8), noise()
    )
    sides = drawn[:, 0, 0]
    assert (sides.abs() > 0.7).float().mean() > 0.9
    assert 0.3 < float((sides > 0).float().mean()) < 0.7


def test_the_same_seed_gives_the_same_actions_and_reset_starts_anew():
    checkpoint = train([episode(0)], config(), steps=5, seed=0).checkpoint
    seen = observation(episode(0), 3)
    first, second = Runner(checkpoint, seed=1), Runner(checkpoint, seed=2)
    answers = [first.infer(seen), first.infer(seen)]
    assert not np.array_equal(*answers)
    first.reset()
    np.testing.assert_array_equal(first.infer(seen), answers[0])
    assert not np.array_equal(second.infer(seen), answers[0])
    assert answers[0].shape == (4, JOINTS)
    assert answers[0].dtype == np.float64


def test_an_observation_that_the_policy_was_not_trained_with_is_refused():
    runner = Runner(train([episode(0)], config(), steps=1, seed=0).checkpoint)
    seen = observation(episode(0), 0)
    with pytest.raises(PolicyError, match=r"trained with 'observation\.env"):
        runner.infer({"observation.state": seen["observation.state"]})
    with pytest.raises(PolicyError, match=r"has shape \(3,\)"):
        runner.infer({**seen, "observation.state": np.zeros(3)})


def test_images_are_seen():
    camera = "observation.images.scene"
    demo = episode(0, 6)
    dark = np.zeros((6, 24, 32, 3), np.uint8)
    with_images = {**demo.columns, camera: dark}
    demo = Episode(columns=with_images, task=demo.task, success=True, fps=20.0)
    seeing = config(cameras=(camera,), image_size=16)
    runner = Runner(train([demo], seeing, steps=3, seed=0, batch=8).checkpoint)
    seen = observation(demo, 0)
    answers = []
    for image in (dark[0], dark[0], dark[0] + 255):
        runner.reset()
        answers.append(runner.infer({**seen, camera: image}))
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"execute_steps": 5}, "at most horizon 4"),
        ({"relative": (2,)}, "relative"),
        ({"observations": {}, "relative": ()}, "sees nothing"),
        ({"width": 0}, "width"),
        ({"widht": 64}, "widht"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        config(**changes)
