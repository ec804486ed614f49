import numpy as np
import pytest
import torch

from dexhil.policy.chunks import make_samples
from dexhil.policy.errors import TrainingError
from dexhil.policy.flow import FlowPolicy
from dexhil.policy.runner import Runner
from dexhil.policy.selection import Category
from dexhil.policy.trainer import Progress, train
from dexhil.policy.weights import weigh
from tests.policy.learning import JOINTS, config, episode, observation

DEMOS = [episode(seed) for seed in range(3)]
TAKEOVER = episode(3, 10, person=True)


def test_a_chunk_holds_the_actions_that_follow_and_repeats_the_last_at_the_end():
    samples = make_samples([TAKEOVER], config())
    actions = TAKEOVER.columns["action"]
    assert samples.chunks.shape == (10, 4, JOINTS)
    np.testing.assert_array_equal(samples.chunks[2], actions[2:6])
    np.testing.assert_array_equal(samples.chunks[8], actions[[8, 9, 9, 9]])


def test_a_chunk_never_reaches_into_the_next_episode():
    samples = make_samples([DEMOS[0], DEMOS[1]], config())
    np.testing.assert_array_equal(samples.chunks[29], DEMOS[0].columns["action"][[29] * 4])


def test_a_chunk_belongs_to_the_class_of_its_first_frame():
    mixed = episode(0, 8)
    mixed.columns["intervention"][3:5] = True
    categories = make_samples([mixed], config()).categories
    assert np.flatnonzero(categories == Category.INTERVENTION).tolist() == [3, 4]


def test_dexhil_gives_interventions_half_of_the_loss_and_uniform_their_share():
    dexhil = train([*DEMOS, TAKEOVER], config(), steps=1, seed=0)
    uniform = train([*DEMOS, TAKEOVER], config(), steps=1, seed=0, weighting="uniform")
    assert dexhil.weights.share == pytest.approx(0.1)
    assert dexhil.weights.effective_share == pytest.approx(0.5)
    assert dexhil.weights.effective_sample_size < uniform.weights.effective_sample_size
    assert uniform.weights.effective_share == pytest.approx(0.1)
    assert dexhil.checkpoint.training["intervention_weight"] == pytest.approx(5.0)


def test_without_interventions_dexhil_trains_as_uniform_does():
    results = [train(DEMOS, config(), steps=5, seed=0, weighting=w) for w in ("dexhil", "uniform")]
    assert results[0].losses == results[1].losses


def test_the_gradient_follows_the_weights():
    policy = FlowPolicy(config())
    samples = make_samples([*DEMOS, TAKEOVER], config())
    policy.fit_normalizers(samples.numbers, samples.chunks)
    person = torch.from_numpy(samples.categories == Category.INTERVENTION)

    def gradient(weights: torch.Tensor) -> torch.Tensor:
        policy.zero_grad()
        each = policy.loss(
            samples.numbers, samples.images, samples.chunks, torch.Generator().manual_seed(0)
        )
        (each * weights).mean().backward()
        return torch.cat([p.grad.flatten().clone() for p in policy.parameters()])

    weighted = torch.tensor(weigh(samples.categories).values).float()
    whole = gradient(weighted)
    parts = [gradient(mask.float()) for mask in (person, ~person)]
    torch.testing.assert_close(whole, 5.0 * parts[0] + 5.0 / 9.0 * parts[1], rtol=1e-3, atol=1e-4)


def conflict() -> list:
    """Demonstrations and a takeover that answer the same observation differently."""
    takeover = episode(0, person=True)
    takeover.columns["action"][:] += 1.0
    return [episode(0), episode(0), episode(0), takeover]


def mean_answer(result) -> float:
    """How far a policy's answers lie from the demonstrations towards the takeover."""
    policy, samples = result.checkpoint.policy(), make_samples([episode(0)], config())
    many = torch.zeros(200, dtype=torch.int64) + 10
    drawn = policy.sample(
        samples.numbers[many], samples.images[many], torch.Generator().manual_seed(0)
    )
    return float((drawn - samples.chunks[10]).mean())


def test_reweighting_draws_the_answers_towards_the_person_by_loss_and_by_sampling_alike():
    settings = {"steps": 300, "seed": 0, "batch": 64, "learning_rate": 3e-3}
    by_loss = mean_answer(train(conflict(), config(), **settings))
    by_sampling = mean_answer(train(conflict(), config(), balance="sampling", **settings))
    uniform = mean_answer(train(conflict(), config(), weighting="uniform", **settings))
    assert by_loss == pytest.approx(0.5, abs=0.12)
    assert by_sampling == pytest.approx(0.5, abs=0.12)
    assert uniform == pytest.approx(0.25, abs=0.12)


def test_the_same_seed_gives_the_same_policy_and_another_seed_another():
    first, again, other = (
        train(DEMOS, config(dropout=0.1), steps=5, seed=seed).checkpoint for seed in (1, 1, 2)
    )
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, again.tensors[name])
    assert any(not torch.equal(t, other.tensors[name]) for name, t in first.tensors.items())


def test_training_leaves_torch_s_own_random_state_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    train(DEMOS, config(dropout=0.1), steps=2, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_warm_start_keeps_the_network_and_the_scales_of_the_first_round():
    first = train(DEMOS, config(), steps=20, seed=0).checkpoint
    far = episode(9, person=True, bias=100.0)
    second = train([*DEMOS, far], config(), steps=1, seed=0, init=first, learning_rate=1e-9)
    for name, tensor in first.tensors.items():
        torch.testing.assert_close(second.checkpoint.tensors[name], tensor)
    assert second.checkpoint.training["rounds"] == 2
    assert second.checkpoint.training["steps"] == 21


def test_training_does_not_change_the_checkpoint_it_starts_from():
    first = train(DEMOS, config(), steps=2, seed=0).checkpoint
    before = {name: tensor.clone() for name, tensor in first.tensors.items()}
    train(DEMOS, config(), steps=5, seed=0, init=first)
    assert all(torch.equal(tensor, before[name]) for name, tensor in first.tensors.items())


def test_ctrl_c_ends_training_and_keeps_what_was_learnt():
    def impatient(progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    result = train(DEMOS, config(), steps=100, seed=0, progress=impatient)
    assert result.interrupted
    assert len(result.losses) == 3
    assert result.checkpoint.training["steps"] == 3
    assert np.isfinite(Runner(result.checkpoint).infer(observation(DEMOS[0], 0))).all()


def test_progress_is_told_after_every_step():
    told: list[Progress] = []
    result = train(DEMOS, config(), steps=3, seed=0, progress=told.append)
    assert [(p.step, p.steps) for p in told] == [(1, 3), (2, 3), (3, 3)]
    assert [p.loss for p in told] == list(result.losses)


def test_the_loss_falls():
    losses = train(DEMOS, config(), steps=200, seed=0, batch=64, learning_rate=3e-3).losses
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("action", np.full((30, JOINTS), np.nan, np.float32), "Episode 1, column 'action'.*finite"),
        ("action", np.zeros((30, 5), np.float32), r"Episode 1, column 'action'.*\(30, 5\)"),
        ("observation.state", None, "Episode 1 has no column 'observation.state'"),
    ],
)
def test_an_episode_that_cannot_be_learnt_from_is_named(column, values, message):
    broken = episode(1)
    del broken.columns[column]
    if values is not None:
        broken.columns[column] = values
    with pytest.raises(TrainingError, match=message):
        train([DEMOS[0], broken], config(), steps=1, seed=0)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(TrainingError, match="no frame"):
        train([], config(), steps=1, seed=0)


def test_a_warm_start_from_another_configuration_is_refused():
    first = train(DEMOS, config(), steps=1, seed=0).checkpoint
    with pytest.raises(TrainingError, match="another configuration"):
        train(DEMOS, config(width=16), steps=1, seed=0, init=first)


def test_a_loss_that_blows_up_ends_the_training():
    with pytest.raises(TrainingError, match="the loss is"):
        train(DEMOS, config(), steps=5, seed=0, learning_rate=1e30)
