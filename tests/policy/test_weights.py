import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.policy.errors import TrainingError
from dexhil.policy.weights import intervention_weights, uniform_weights

FLAGS = st.lists(st.booleans(), min_size=1, max_size=300)


def test_a_quarter_of_interventions_counts_twice_and_the_rest_two_thirds():
    weights = intervention_weights([True, False, False, False])
    assert weights.share == 0.25
    np.testing.assert_allclose(weights.values, [2.0, 2 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("kept", "demonstrated", "expected"),
    [(1, 10, (5.5, 0.55)), (1, 5, (3.0, 0.6)), (3, 10, (13 / 6, 0.65))],
)
def test_the_weights_of_the_paper_s_three_rounds_come_out(kept, demonstrated, expected):
    weights = intervention_weights([True] * kept + [False] * demonstrated)
    assert (weights.intervention, weights.other) == pytest.approx(expected)


@given(FLAGS, st.floats(0.05, 0.95))
def test_the_mean_weight_is_one_and_the_share_is_met_when_both_classes_exist(flags, target):
    weights = intervention_weights(flags, target_share=target, largest=np.inf)
    assert weights.values.mean() == pytest.approx(1.0)
    if 0 < sum(flags) < len(flags):
        assert weights.effective_share == pytest.approx(target)
    assert weights.effective_sample_size <= len(flags) * (1 + 1e-9)


@pytest.mark.parametrize("flag", [True, False])
def test_a_single_class_is_left_alone(flag):
    weights = intervention_weights([flag] * 7)
    assert (weights.values == 1.0).all()
    assert not weights.clipped


def test_a_rare_intervention_is_cut_to_the_largest_weight_and_says_so():
    weights = intervention_weights([True] + [False] * 99, largest=10.0)
    assert weights.values.max() == 10.0
    assert weights.clipped
    assert weights.effective_share < 0.5


def test_uniform_weights_count_every_sample_once():
    weights = uniform_weights([True, False, False])
    assert (weights.values == 1.0).all()
    assert weights.effective_share == pytest.approx(1 / 3)
    assert weights.effective_sample_size == pytest.approx(3.0)


@given(FLAGS.filter(lambda flags: 0 < sum(flags) < len(flags)), st.integers(0, 2**16))
def test_sampling_in_proportion_to_the_weights_expects_what_the_weighted_mean_gives(flags, seed):
    weights = intervention_weights(flags)
    losses = np.random.default_rng(seed).random(len(flags))
    sampled = (weights.values / weights.values.sum()) @ losses
    assert sampled == pytest.approx((weights.values * losses).sum() / weights.values.sum())


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_target_that_is_not_a_share_is_refused(target):
    with pytest.raises(TrainingError, match="target_share"):
        intervention_weights([True, False], target_share=target)


def test_no_samples_at_all_are_refused():
    with pytest.raises(TrainingError, match="one flag per sample"):
        intervention_weights([])
