import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.policy.errors import TrainingError
from dexhil.policy.selection import Category
from dexhil.policy.weights import Weights, weigh

D, I, P, R = Category  # noqa: E741 - as in the strings below
CATEGORIES = st.lists(st.sampled_from(list(Category)), min_size=1, max_size=300)
WEIGHTINGS = st.sampled_from(["dexhil", "uniform", "sirius"])


def of(letters: str, *args: object, **kwargs: object) -> Weights:
    """Weigh categories by their first letters: demonstration, intervention, pre, roll-out."""
    return weigh([dict(zip("DIPR", Category, strict=True))[c] for c in letters], *args, **kwargs)


def test_a_quarter_of_interventions_counts_twice_and_the_rest_two_thirds():
    weights = of("IDRP")
    assert weights.share == 0.25
    np.testing.assert_allclose(weights.values, [2.0, 2 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("kept", "demonstrated", "expected"),
    [(1, 10, (5.5, 0.55)), (1, 5, (3.0, 0.6)), (3, 10, (13 / 6, 0.65))],
)
def test_the_weights_of_the_paper_s_three_rounds_come_out(kept, demonstrated, expected):
    weights = of("I" * kept + "D" * demonstrated)
    assert (weights.intervention, weights.other) == pytest.approx(expected)


def test_sirius_counts_demonstrations_once_and_gives_roll_outs_what_is_left():
    # Of 1000: 200 demonstrated, 250 interventions, 100 before those, 450 the policy's own.
    weights = of("D" * 200 + "I" * 250 + "P" * 100 + "R" * 450, "sirius")
    assert weights.by_category == pytest.approx(
        {D: 1.0, I: 0.5 / 0.25, P: 0.002 / 0.1, R: (1 - 0.5 - 0.2 - 0.002) / 0.45}
    )


def test_where_sirius_own_formula_would_weigh_roll_outs_negatively_they_count_nothing():
    # Its formula says (1 - 0.5 - 0.6 - 0.002) / 0.2 = -0.51 for the policy's own frames.
    weights = of("D" * 600 + "I" * 100 + "P" * 100 + "R" * 200, "sirius")
    assert weights.by_category == pytest.approx({D: 0.498 / 0.6, I: 5.0, P: 0.02, R: 0.0})


def test_sirius_without_roll_outs_has_the_two_classes_of_dexhil():
    letters = "D" * 10 + "I" * 3
    sirius, dexhil = of(letters, "sirius"), of(letters, "dexhil")
    np.testing.assert_allclose(sirius.values, dexhil.values)


def test_sirius_with_nothing_but_takeovers_still_weighs_one_in_the_mean():
    assert of("IIPP", "sirius", largest=np.inf).values.mean() == pytest.approx(1.0)


def test_sampling_by_dexhil_s_weights_draws_as_iwr_does():
    weights = of("I" * 3 + "D" * 5 + "R" * 4)
    iwr = np.array([(12 - 3) / 3] * 3 + [1.0] * 9)  # The ratio of IWR's own sampler.
    np.testing.assert_allclose(weights.values / weights.values.sum(), iwr / iwr.sum())


@given(CATEGORIES, WEIGHTINGS, st.floats(0.05, 0.95))
def test_the_mean_weight_is_one_none_is_negative_and_the_share_is_met(kinds, weighting, target):
    weights = weigh(kinds, weighting, target_share=target, largest=np.inf)
    assert weights.values.mean() == pytest.approx(1.0)
    assert (weights.values >= 0.0).all()
    others = [kind for kind in kinds if kind is not I]
    somebody_takes_the_rest = set(others) != {P} or weighting == "dexhil"
    if weighting != "uniform" and 0 < len(others) < len(kinds) and somebody_takes_the_rest:
        assert weights.effective_share == pytest.approx(target)
    total = weights.share * weights.intervention + (1.0 - weights.share) * weights.other
    assert total == pytest.approx(1.0)
    assert weights.effective_sample_size <= len(kinds) * (1 + 1e-9)


@given(CATEGORIES, WEIGHTINGS, st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(kinds, weighting, random):
    order = list(range(len(kinds)))
    random.shuffle(order)
    shuffled = weigh([kinds[i] for i in order], weighting)
    np.testing.assert_array_equal(shuffled.values, weigh(kinds, weighting).values[order])


@pytest.mark.parametrize("weighting", ["dexhil", "sirius"])
@pytest.mark.parametrize("letters", ["DDDDDDD", "IIIIIII", "DDRR"])
def test_without_interventions_or_without_anything_else_all_samples_count_once(letters, weighting):
    weights = of(letters, weighting)
    assert (weights.values == 1.0).all()
    assert not weights.clipped


def test_a_rare_intervention_is_cut_to_the_largest_weight_and_says_so():
    weights = of("I" + "D" * 99, largest=10.0)
    assert weights.values.max() == 10.0
    assert weights.clipped
    assert weights.effective_share < 0.5


def test_uniform_weights_count_every_sample_once():
    weights = of("IDR", "uniform")
    assert (weights.values == 1.0).all()
    assert weights.effective_share == pytest.approx(1 / 3)
    assert weights.effective_sample_size == pytest.approx(3.0)


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_target_that_is_not_a_share_is_refused(target):
    with pytest.raises(TrainingError, match="target_share"):
        of("ID", target_share=target)


def test_an_unknown_weighting_is_refused_and_the_known_ones_named():
    with pytest.raises(TrainingError, match="'siruis', allowed are dexhil, uniform, sirius"):
        of("ID", "siruis")


def test_no_samples_at_all_are_refused():
    with pytest.raises(TrainingError, match="one category per sample"):
        weigh([])
