"""A user's mistake ends in one sentence and a non-zero exit, never in a traceback."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dexhil.integration import cli
from dexhil.policy.checkpoint import Checkpoint
from dexhil.policy.episodes import DatasetReader
from dexhil.policy.flow import FlowPolicyConfig
from dexhil.retarget.human import POSTURES, HumanHand

Edit = Callable[[str, str], Path]


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail; return the one sentence it says."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.split())


def works(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    assert stop.value.code == 0


def clip(path: Path, *, nan_from: int | None = None) -> Path:
    """Write two seconds of a hand that closes and opens."""
    hand = HumanHand()
    closures = 0.5 - 0.5 * np.cos(np.linspace(0.0, 2.0 * np.pi, 60))
    postures = [POSTURES["open"] + c * (POSTURES["grasp"] - POSTURES["open"]) for c in closures]
    keypoints = np.array([hand.keypoints(posture) for posture in postures])
    if nan_from is not None:
        keypoints[nan_from:, 4] = np.nan
    np.save(path, keypoints)
    return path


def test_an_unknown_driver_lists_the_installed_ones(
    capsys: pytest.CaptureFixture[str], edited_rig: Edit
) -> None:
    rig = edited_rig('[hand.right]\ndriver = "sim"', '[hand.right]\ndriver = "slim"')
    said = fails(capsys, "teleop", "--rig", rig)
    assert "No hand driver is called 'slim'. Installed: ability, allegro" in said


def test_a_misspelt_key_suggests_the_right_one(
    capsys: pytest.CaptureFixture[str], edited_rig: Edit
) -> None:
    rig = edited_rig('scene = "plush"', 'scen = "plush"')
    assert "Did you mean 'scene'?" in fails(capsys, "teleop", "--rig", rig)


def test_a_missing_rig_file_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = fails(capsys, "evaluate", "--rig", tmp_path / "no.toml", "--checkpoint", tmp_path)
    assert "no.toml" in said or "checkpoint" in said.lower()


def test_a_corrupt_checkpoint_is_named(
    capsys: pytest.CaptureFixture[str], rig: Path, tmp_path: Path
) -> None:
    config = FlowPolicyConfig(observations={"observation.state": 19}, action_dim=13)
    save_fresh(config, tmp_path / "policy")
    for file in (tmp_path / "policy").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    said = fails(capsys, "evaluate", "--rig", rig, "--checkpoint", tmp_path / "policy")
    assert said.startswith("CheckpointError")
    assert str(tmp_path / "policy").split("/")[-1] in said


def test_a_policy_for_another_robot_is_refused(
    capsys: pytest.CaptureFixture[str], rig: Path, tmp_path: Path
) -> None:
    config = FlowPolicyConfig(observations={"observation.state": 38}, action_dim=22)
    save_fresh(config, tmp_path / "policy")
    said = fails(capsys, "evaluate", "--rig", rig, "--checkpoint", tmp_path / "policy")
    assert said.startswith("PolicyError")
    assert "38" in said


def test_a_full_disk_is_one_sentence(capsys: pytest.CaptureFixture[str], rig: Path) -> None:
    # /dev/full refuses every write; as a folder it cannot even be made.
    said = fails(capsys, "record", "--rig", rig, "--out", "/dev/full/data", "--episodes", 1)
    assert said.startswith("StorageError")
    assert "/dev/full" in said


def test_replaying_keypoints_drives_the_hand_and_leaves_a_dataset(
    rig: Path, tmp_path: Path
) -> None:
    keypoints = clip(tmp_path / "hand.npy")
    works("teleop", "--rig", rig, "--glove", f"replay:{keypoints}", "--record", tmp_path / "data")
    reader = DatasetReader(tmp_path / "data")
    episode = reader.episode(0)
    hand = episode.columns["action"][:, 7:]
    assert 1.5 < len(episode) / episode.fps < 4.0
    assert np.ptp(hand, axis=0).max() > 0.5, "the hand did not follow the keypoints"
    assert not episode.intervention.any()


def test_keypoints_that_turn_nan_hold_the_hand(rig: Path, tmp_path: Path) -> None:
    keypoints = clip(tmp_path / "hand.npy", nan_from=20)
    works("teleop", "--rig", rig, "--glove", f"replay:{keypoints}", "--record", tmp_path / "data")
    episode = DatasetReader(tmp_path / "data").episode(0)
    actions = episode.columns["action"]
    assert np.isfinite(actions).all()
    assert episode.columns["mode"][-1] == 0, "not holding"
    assert len(episode) / episode.fps < 1.5, "went on after the keypoints were lost"


def test_keypoints_of_a_wrong_shape_are_refused(
    capsys: pytest.CaptureFixture[str], rig: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "hand.npy", np.zeros((10, 20, 3)))
    said = fails(capsys, "teleop", "--rig", rig, "--glove", f"replay:{tmp_path / 'hand.npy'}")
    assert "(10, 20, 3)" in said


def test_a_glove_option_that_is_no_replay_is_refused(
    capsys: pytest.CaptureFixture[str], rig: Path
) -> None:
    said = fails(capsys, "teleop", "--rig", rig, "--glove", "hand.npy")
    assert "replay:FILE.npy" in said


def test_a_dataset_of_another_rig_is_not_mixed_in(
    capsys: pytest.CaptureFixture[str], rig: Path, edited_rig: Edit, tmp_path: Path
) -> None:
    keypoints = clip(tmp_path / "hand.npy")
    out = ("--glove", f"replay:{keypoints}", "--record", tmp_path / "data")
    works("teleop", "--rig", rig, *out)
    other = edited_rig('hand = "inspire"', 'hand = "leap"')
    assert fails(capsys, "teleop", "--rig", other, *out).startswith("FeaturesError")
    assert len(DatasetReader(tmp_path / "data")) == 1


def test_a_machine_without_egl_still_runs_and_says_what_to_install(rig: Path) -> None:
    # A loader that finds no EGL library, as on a machine without one.
    code = (
        "import ctypes\n"
        "def missing(name, *args, load=ctypes.CDLL, **kwargs):\n"
        "    if 'EGL' in str(name):\n"
        "        raise OSError(f'{name}: cannot open shared object file')\n"
        "    return load(name, *args, **kwargs)\n"
        "ctypes.CDLL = missing\n"
        "from dexhil.integration.cli import main\n"
        f"main(['teleop', '--rig', {str(rig)!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MUJOCO_GL": "egl"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Install libegl1" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["devices", "doctor", "teleop", "record", "train", "run", "evaluate", "demo"],
)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    works(command, "--help")
    assert len(capsys.readouterr().out) > 200


def test_devices_lists_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    works("devices")
    said = capsys.readouterr().out
    for kind in ("arm", "hand", "glove", "tracker", "camera", "switch"):
        assert kind in said


def test_a_policy_that_looks_through_a_camera_can_be_recorded_trained_and_evaluated(
    rig: Path, tmp_path: Path
) -> None:
    data, policy = tmp_path / "data", tmp_path / "policy"
    works("record", "--rig", rig, "--out", data, "--episodes", 1, "--cameras")
    train = ("train", "--demonstrations", data, "--steps", 2)
    works(*train, "--out", policy, "--cameras", "wrist")
    checkpoint = Checkpoint.load(policy)
    assert checkpoint.config.cameras == ("observation.images.wrist",)
    works("evaluate", "--rig", rig, "--checkpoint", policy, "--starts", 1)
    works(*train, "--out", tmp_path / "next", "--init", policy)


def test_a_camera_that_was_not_recorded_is_refused(
    capsys: pytest.CaptureFixture[str], rig: Path, tmp_path: Path
) -> None:
    works("record", "--rig", rig, "--out", tmp_path / "data", "--episodes", 1)
    train = ("train", "--demonstrations", tmp_path / "data", "--out", tmp_path / "policy")
    assert "no camera 'scene'. It has: none" in fails(capsys, *train, "--cameras", "scene")


def save_fresh(config: FlowPolicyConfig, folder: Path) -> None:
    from dexhil.policy.flow import FlowPolicy

    tensors = FlowPolicy(config).state_dict()
    Checkpoint(config=config, tensors=dict(tensors), training={}).save(folder)


@pytest.mark.parametrize(
    "command",
    [
        ("calibrate", "--glove", "sim", "--hand", "leap", "--user", "anna"),
        ("emulate", "leap"),
        ("record", "--rig", "rig.toml", "--out", "data"),
    ],
)
def test_ctrl_c_promises_only_what_every_command_keeps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands, command[0], stop)
    with pytest.raises(SystemExit) as ended:
        cli.main(list(command))
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Stopped. What was finished is kept.\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_kill_and_a_lost_terminal_end_a_command_like_ctrl_c(name: str) -> None:
    program = f"""
import os, signal, time
from dexhil.integration import cli

def run(**_):
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(10)
    finally:
        print("cleaned up", flush=True)

cli.app.cli = run
cli.main([])
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "cleaned up\n", ended.stderr
    assert ended.returncode == 130
