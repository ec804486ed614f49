"""The arms of a comparison differ where they say they differ, and nowhere else."""

from dataclasses import fields

import pytest

from dexhil.policy.arms import ARMS, find_arm
from dexhil.policy.errors import TrainingError


def differences(one: str, other: str) -> set[str]:
    a, b = ARMS[one], ARMS[other]
    names = {field.name for field in fields(a)} - {"name"}
    return {name for name in names if getattr(a, name) != getattr(b, name)}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("dexhil", "dagger_filtered", {"weighting"}),
        ("dexhil", "dagger_weighted", {"keep"}),
        ("dagger", "dagger_filtered", {"keep"}),
        ("dagger", "dagger_weighted", {"weighting"}),
        ("dagger", "hg_dagger", {"keep"}),
        ("dagger_weighted", "iwr", {"balance"}),
        ("dagger_weighted", "sirius", {"weighting"}),
        ("dagger_filtered", "offline", {"collect"}),
    ],
)
def test_compared_arms_differ_in_one_thing(one, other, expected):
    assert differences(one, other) == expected


def test_every_arm_is_found_by_its_name():
    assert all(find_arm(name) is arm for name, arm in ARMS.items())


def test_a_share_after_the_name_is_the_sweep_over_the_target():
    assert find_arm("dexhil@0.25").target_share == 0.25
    assert find_arm("dexhil@0.25").name == "dexhil@0.25"
    assert find_arm("dexhil").target_share == 0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("daggar", "No arm is called 'daggar'. Known: dexhil, dagger_filtered"),
        ("dexhil@2", "its share is '2', allowed is between 0 and 1"),
        ("dexhil@half", "its share is 'half'"),
        ("dexhil@nan", "its share is 'nan'"),
        ("offline@0.5", "it has no share"),
    ],
)
def test_a_wrong_name_or_share_says_what_is_allowed(name, message):
    with pytest.raises(TrainingError, match=message):
        find_arm(name)
