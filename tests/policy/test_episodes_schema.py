"""Which features a dataset may have."""

import numpy as np
import pytest

from dexhil.policy.episodes import Feature, Features, FeaturesError
from dexhil.policy.episodes.schema import FILLED_BY_WRITER


def rig(**changes: object) -> Features:
    arguments: dict[str, object] = {"arm_joints": ["a", "b"], "hand_joints": ["a"]}
    return Features.for_rig(**{**arguments, **changes})  # type: ignore[arg-type]


def test_a_rig_has_the_columns_that_takeovers_need() -> None:
    features = rig(environment_state=["object.x"], cameras={"scene": (48, 64)})
    assert {
        "observation.state",
        "observation.environment_state",
        "observation.images.scene",
        "action",
        "action.policy",
        "action.human",
        "intervention",
        "authority",
        "authority.arm",
        "authority.hand",
        "source",
        "mode",
        "segment_index",
        "t_mono",
        *(f"age.{device}" for device in ("arm", "hand", "glove", "tracker", "scene")),
        *FILLED_BY_WRITER,
    } == set(features)


def test_names_tell_arm_and_hand_joints_apart() -> None:
    features = rig()
    assert features["action"].names == ("arm.a", "arm.b", "hand.a")
    assert features["observation.state"].names == ("arm.a", "arm.b", "hand.a", "hand.a.lag")


def test_intervention_is_always_there_as_lerobot_writes_it() -> None:
    assert rig()["intervention"] == Feature(dtype="bool", shape=(1,), names=None)


def test_features_survive_info_json() -> None:
    features = rig(cameras={"scene": (48, 64)})
    assert features.difference(Features.from_info(features.to_info({}))) is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (rig(arm_joints=["a", "c"]), r"names of 'observation.state' is .*'arm.b'.*'arm.c'"),
        (rig(arm_joints=["a"]), r"shape of 'observation.state' is \(4,\).*wanted \(3,\)"),
        (rig(cameras={"scene": (48, 64)}), r"'observation.images.scene' is not in the dataset"),
    ],
)
def test_the_first_difference_is_named(other: Features, message: str) -> None:
    difference = rig().difference(other)
    assert difference is not None
    with pytest.raises(FeaturesError, match=message):
        raise FeaturesError(difference)


@pytest.mark.parametrize(
    ("name", "feature", "message"),
    [
        ("a/b", Feature(dtype="float32", shape=(1,)), "hold '/'"),
        ("a", Feature(dtype="float16", shape=(1,)), "dtype is 'float16'"),
        ("a", Feature(dtype="float32", shape=(2, 2)), r"shape is \(2, 2\)"),
        ("a", Feature(dtype="float32", shape=(2,), names=("x",)), "1 names for 2 elements"),
        ("observation.images.a", Feature(dtype="video", shape=(47, 64, 3)), "even"),
        ("a", Feature(dtype="video", shape=(48, 64, 3)), "must start with"),
    ],
)
def test_features_that_cannot_be_stored_are_refused(
    name: str, feature: Feature, message: str
) -> None:
    with pytest.raises(FeaturesError, match=message):
        Features({name: feature})


def test_a_frame_brings_all_columns_but_those_the_writer_fills() -> None:
    features = rig()
    assert set(features.frame_dtype.names or ()) == set(features.columns) - FILLED_BY_WRITER
    assert features.frame_dtype["t_mono"] == np.float64
