"""What a server is told of a rig, and what its answers mean for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dexhil.policy.errors import RemoteError
from dexhil.policy.remote.config import Entry, RemoteConfig, load_remote
from dexhil.policy.remote.translation import Translation, picture
from tests.policy.remote_servers import FEATURES, FRONT, shown

URL = "ws://gpu:8000"
DROID = """
url = "ws://gpu:8000"
prompt = "put the toy away"
execute_steps = 8
rate_hz = 15

[[observation]]
key = "observation/exterior_image_1_left"
camera = "front"
size = [224, 224]

[[observation]]
key = "observation/joint_position"
numbers = "arm"

[[observation]]
key = "observation/gripper_position"
numbers = ["hand.c"]
"""
ALOHA = """
url = "wss://gpu"
joints = ["hand.c", "arm.a", "arm.b"]

[[observation]]
key = "state"
numbers = ["hand.c", "arm.a", "arm.b"]

[[observation]]
key = ["images", "cam_high"]
camera = "front"
size = [32, 32]
channels_first = true

[[observation]]
key = ["images", "cam_right_wrist"]
camera = "wrist"
channels_first = true
"""


def read(text: str, folder: Path) -> RemoteConfig:
    file = folder / "remote.toml"
    file.write_text(text, encoding="utf-8")
    return load_remote(str(file))


def config(**changes: Any) -> RemoteConfig:
    observation = (Entry(key="observation.state", numbers="observation.state"),)
    return RemoteConfig(**{"url": URL, "observation": observation, **changes})


def translation(**changes: Any) -> Translation:
    return Translation(config(**changes), FEATURES, "lift")


def test_a_server_with_names_like_droids_is_told_what_it_knows(tmp_path: Path) -> None:
    droid = read(DROID, tmp_path)
    request = Translation(droid, FEATURES, "lift").request(shown(0.5), reset=True)
    assert list(request) == [
        "observation/exterior_image_1_left",
        "observation/joint_position",
        "observation/gripper_position",
        "prompt",
    ]
    assert request["observation/exterior_image_1_left"].shape == (224, 224, 3)
    assert request["prompt"] == "put the toy away"
    joints = request["observation/joint_position"]
    assert joints.dtype == np.float32
    np.testing.assert_allclose(joints, [0.5, 0.1])
    np.testing.assert_allclose(request["observation/gripper_position"], [0.2])


def test_a_server_with_names_like_alohas_is_told_what_it_knows(tmp_path: Path) -> None:
    aloha = Translation(read(ALOHA, tmp_path), FEATURES, "lift")
    request = aloha.request(shown(0.5), reset=False)
    assert {name: image.shape for name, image in request["images"].items()} == {
        "cam_high": (3, 32, 32),
        "cam_right_wrist": (3, 20, 20),
    }
    assert request["prompt"] == "lift"
    np.testing.assert_allclose(request["state"], [0.2, 0.5, 0.1])
    hand_first = {"actions": np.array([[3.0, 1.0, 2.0]])}
    np.testing.assert_array_equal(aloha.actions(hand_first), [[1.0, 2.0, 3.0]])


def test_features_go_whole_and_a_server_that_wants_it_hears_who_drove() -> None:
    entries = [
        Entry(key=k, numbers=k) for k in ("observation.state", "observation.environment_state")
    ]
    asked = translation(observation=entries, prompt_key="", reset_key="new")
    request = asked.request(shown(), reset=True)
    assert request.pop("new") is True
    assert {name: list(value) for name, value in request.items()} == {
        "observation.state": pytest.approx([0.5, 0.1, 0.2, 0.3]),
        "observation.environment_state": [7.0, 8.0],
    }


def test_a_blank_observation_holds_all_that_is_asked_for(tmp_path: Path) -> None:
    for text in (DROID, ALOHA):
        asked = Translation(read(text, tmp_path), FEATURES, "lift")
        blank, seen = asked.blank(), shown()
        assert all(blank[name].shape == seen[name].shape for name in blank)
        asked.request(blank, reset=True)


def test_a_picture_is_brought_to_size_without_being_squeezed() -> None:
    image = np.full((48, 64, 3), 200, np.uint8)
    padded = picture(image, Entry(key="k", camera="front", size=(32, 32)))
    lit = padded[:, :, 0].any(axis=1)
    assert (int(lit.argmax()), int(lit.sum())) == (4, 24)
    assert padded[4:28].min() == 200
    stretched = picture(image, Entry(key="k", camera="front", size=(32, 32), fit="stretch"))
    assert stretched.min() == 200


def test_a_picture_that_fits_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    assert picture(image, Entry(key="k", camera="c")) is image
    assert picture(image, Entry(key="k", camera="c", size=(20, 30))) is image
    turned = picture(image, Entry(key="k", camera="c", channels_first=True))
    np.testing.assert_array_equal(turned[1], image[:, :, 1])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"actions": np.zeros((6, 4))}, r"shape \(6, 4\), expected \(horizon, 3\)"),
        ({"actions": np.zeros(3)}, r"shape \(3,\)"),
        ({"actions": np.zeros((0, 3))}, r"shape \(0, 3\)"),
        ({"actions": np.zeros((1, 6, 3))}, r"shape \(1, 6, 3\)"),
        ({"actions": [[0.0, 0.0, 0.0]]}, "no array 'actions'"),
        ({"action": np.zeros((6, 3))}, "no array 'actions' in its answer, which has 'action'"),
        ({"actions": None}, "no array"),
        ({}, "no array"),
        ("text", "no array"),
        (None, "no array"),
        ({"actions": np.full((6, 3), np.nan)}, "'actions' is not finite"),
        ({"actions": np.full((6, 3), np.inf)}, "'actions' is not finite"),
    ],
)
def test_an_answer_that_this_robot_cannot_obey_is_refused(answer: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        translation().actions(answer)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"observation": [Entry(key="k", camera="top")]}, "no camera 'top' on this rig. It has: f"),
        ({"observation": [Entry(key="k", numbers=["arm.z"])]}, "nothing is called 'arm.z'"),
        ({"observation": [Entry(key="k", numbers="force")]}, "no numbers 'force'"),
        ({"joints": ["arm.a", "arm.b"]}, "differ in 'hand.c'"),
        ({"joints": ["arm.a", "arm.b", "hand.c", "hand.c"]}, "differ"),
        ({"joints": ["arm.a", "arm.b", "hand.d"]}, "differ in 'hand.c'"),
    ],
)
def test_what_the_rig_does_not_have_is_named_with_the_server(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RemoteError, match=f"^{URL}: .*{reason}"):
        translation(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"url": "http://gpu"}, "does not begin with ws:// or wss://"),
        ({"observation": []}, "at least 1"),
        ({"observation": [{"key": "k"}]}, "needs one of 'camera' and 'numbers'"),
        ({"observation": [{"key": "k", "camera": "f", "numbers": "arm"}]}, "needs one of"),
        ({"observation": [{"key": "", "numbers": "arm"}]}, "an entry needs a key"),
        ({"observation": [{"key": "k", "camera": "f", "size": [0, 3]}]}, "greater than or equal"),
        ({"observation": [{"key": "prompt", "numbers": "arm"}]}, "two entries have the key 'pro"),
        ({"prompt_key": ("observation.state", "text")}, "two entries have the key"),
        ({"answer_s": 9.0}, "less than or equal to 5"),
        ({"rate_hz": 0.0}, "greater than 0"),
        ({"execute_step": 3}, "execute_step"),
    ],
)
def test_a_wrong_configuration_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        config(**changes)


def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=r"remote\.toml: observation\.0\.camra: "):
        read(DROID.replace("camera", "camra"), tmp_path)
    with pytest.raises(RemoteError, match=r"remote\.toml: cannot read it"):
        read("url = ", tmp_path)
    with pytest.raises(RemoteError, match=r"none\.toml: cannot read it"):
        load_remote(str(tmp_path / "none.toml"))


def test_pictures_are_asked_for_once_each(tmp_path: Path) -> None:
    assert read(ALOHA, tmp_path).cameras == ("front", "wrist")
    twice = [Entry(key=k, camera="front") for k in ("a", "b")]
    assert config(observation=twice).cameras == ("front",)
    assert FRONT in Translation(config(observation=twice), FEATURES, "").blank()
