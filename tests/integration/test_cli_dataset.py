"""``dexhil dataset ...``: what a user types, what it says, what lies on disk then."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dexhil.integration import cli
from dexhil.integration.dataset import lerobot, rerun_export
from dexhil.integration.dataset.rerun_export import Episodes
from dexhil.integration.errors import RunError
from dexhil.policy.episodes import check
from dexhil.policy.episodes.check import examine
from tests.integration.recordings import logged
from tests.policy.datasets import KEY, columns_of, data, in_one_file, record, row, spoil, video

PLAIN = (
    *("observation.state", "action", "intervention", "next.reward", "next.done", "next.success"),
    *("timestamp", "frame_index", "episode_index", "index", "task_index"),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "dataset")


@pytest.fixture
def dataset(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "dataset"))


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    """Run a command; return what it printed, and what it complained about."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["dataset", *(str(argument) for argument in arguments)])
    printed = capsys.readouterr()
    assert stop.value.code == code, printed
    assert "Traceback" not in printed.out + printed.err
    return " ".join(printed.out.split()), " ".join(printed.err.split())


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ((), ("check", "repair", "merge", "export", "show")),
        (("check",), ("--deep", "--json", "exit status 1")),
        (("repair",), ("--apply", "--set-aside", "--like", "--deep", "Deletes nothing")),
        (("merge",), ("--out",)),
        (("export",), ("--out", "--profile", "--no-outcome", "--without", "--episodes", "--side")),
        (("view",), ("--episode", "--out", "--side")),
        (("show",), ("--all-episodes",)),
    ],
)
def test_every_command_explains_its_options(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...], options: tuple[str, ...]
) -> None:
    said, _ = run(capsys, *command, "--help")
    for option in options:
        assert option in said


# -- check ------------------------------------------------------------------------------------


def test_a_sound_dataset_passes(capsys: pytest.CaptureFixture[str], original: Path) -> None:
    said, _ = run(capsys, "check", original)
    assert said == f"{original}: 3 episodes, 28 frames. All is well."


def test_a_bad_one_fails_episode_by_episode_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str], dataset: Path
) -> None:
    spoil(dataset, 1, lambda columns: columns["timestamp"].put(2, 9.0))
    video(dataset, 2).unlink()
    said, complaint = run(capsys, "check", dataset, code=1)
    assert "episode 1: timestamp is 9.0000 s in frame 2, expected 0.1000 s at 20 Hz" in said
    assert "episode 2: " in said
    assert f"2 problems. What can be put right, and how, says: dexhil dataset repair {dataset}" in (
        complaint
    )
    _, complaint = run(capsys, "check", dataset / "nowhere", code=1)
    assert complaint == f"RunError: {dataset / 'nowhere'}: there is no such folder."


def test_json_tells_all_of_it_to_machines(
    capsys: pytest.CaptureFixture[str], dataset: Path
) -> None:
    said, _ = run(capsys, "check", dataset, "--json")
    assert json.loads(said)["ok"] is True
    for episode in range(3):
        spoil(dataset, episode, lambda columns: columns["t_mono"].__imul__(1.0 + 1e-5))
    said, _ = run(capsys, "check", dataset, "--json", code=1)
    found = json.loads(said)
    assert found["ok"] is False
    assert {problem["episode"] for problem in found["problems"]} == {0, 1, 2}
    assert (found["n_episodes"], found["n_frames"], found["not_checked"]) == (3, 28, [])


# -- repair -----------------------------------------------------------------------------------


def test_repair_says_first_and_does_on_apply(
    capsys: pytest.CaptureFixture[str], dataset: Path
) -> None:
    data(dataset, 0).write_bytes(b"")
    said, _ = run(capsys, "repair", dataset)
    assert "- episode 0: set aside: " in said
    assert "- episode 1 becomes 0, and the 1 after it move up as well" in said
    assert "Nothing was changed. To do this, 2 episodes remain: --apply" in said
    said, _ = run(capsys, "repair", dataset, "--apply")
    assert f"What it does not hold any more is in {dataset}.set-aside-1" in said
    said, _ = run(capsys, "repair", dataset, "--apply")
    assert said == f"{dataset}: nothing to repair."
    run(capsys, "check", dataset)


def test_repair_fails_on_what_it_cannot_put_right_until_that_is_set_aside(
    capsys: pytest.CaptureFixture[str], dataset: Path
) -> None:
    spoil(dataset, 1, lambda columns: columns["action"].put(0, np.nan))
    said, complaint = run(capsys, "repair", dataset, code=1)
    assert "episode 1: action is not finite" in said
    assert "--set-aside takes their episodes out" in complaint
    run(capsys, "repair", dataset, "--set-aside", 1, "--apply")
    assert check(dataset) == []


def test_repair_names_what_it_cannot_put_right_by_the_number_to_set_aside(
    capsys: pytest.CaptureFixture[str], dataset: Path
) -> None:
    data(dataset, 0).unlink()
    spoil(dataset, 2, lambda columns: columns["action"].put(0, np.nan))
    said, _ = run(capsys, "repair", dataset, code=1)
    assert "episode 2: action is not finite" in said
    run(capsys, "repair", dataset, "--set-aside", 2, "--apply")
    assert check(dataset) == []
    said, _ = run(capsys, "show", dataset)
    assert "episodes 1, 7 frames" in said


# -- merge, show ------------------------------------------------------------------------------


def test_merge_and_show(
    capsys: pytest.CaptureFixture[str], original: Path, dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both"
    said, _ = run(capsys, "merge", original, dataset, "--out", out)
    assert said == f"Wrote {out}: 6 episodes, 56 frames."
    _, complaint = run(capsys, "merge", original, dataset, "--out", out, code=1)
    assert complaint == f"DatasetError: {out}: is there already. Name a new folder."
    said, _ = run(capsys, "show", out)
    for words in (
        "6, 56 frames, 0.0 min",
        "lift (4), turn (2)",
        "2 success, 2 failure, 2 without label",
        "46.4% of the frames, in 6 episodes",
        "20.00 Hz in the middle, 20.00 to 20.00",
        "time [s]",
        "5 lift 9 0.4 – 44% 20.00 Hz",
    ):
        assert words in said


# -- export to LeRobot ------------------------------------------------------------------------


def test_the_plain_profile_has_lerobots_columns_and_types_and_the_same_values(
    capsys: pytest.CaptureFixture[str], original: Path, tmp_path: Path
) -> None:
    out = tmp_path / "plain"
    run(capsys, "export", original, "--out", out, "--profile", "lerobot")
    report = examine(out, deep=True)
    assert report.findings == []
    info = json.loads((out / "meta/info.json").read_text())
    assert set(info["features"]) == {*PLAIN, KEY}
    for episode in range(3):
        before, after = columns_of(original, episode), columns_of(out, episode)
        assert set(after) == set(PLAIN)
        for name, column in after.items():
            assert before[name].tobytes() == column.tobytes()
        assert video(out, episode).samefile(video(original, episode))
    schema = pq.read_schema(row(out, 0))
    assert not {"success", "true_fps", "largest_gap_s"} & set(schema.names)
    assert not any("t_mono" in name or "authority" in name for name in schema.names)
    # LeRobot keeps extremes in the type of the feature, and merges nothing else.
    for name, kind in (("intervention", "bool"), ("index", "int64"), ("action", "double")):
        assert str(schema.field(f"stats/{name}/max").type) == f"list<element: {kind}>"


def test_the_flag_can_go_along_as_a_number_and_the_outcome_can_stay_behind(
    capsys: pytest.CaptureFixture[str], original: Path, tmp_path: Path
) -> None:
    out = tmp_path / "plain"
    run(capsys, "export", original, "--out", out, "--profile", "lerobot",
        "--no-outcome", "--is-intervention")  # fmt: skip
    columns = columns_of(out, 0)
    assert not any(name.startswith("next.") for name in columns)
    flag = columns[lerobot.IS_INTERVENTION]
    assert flag.dtype == np.float32
    assert flag.tolist() == [0.0] * 5 + [1.0] * 7
    assert check(out) == []


def test_columns_and_cameras_that_another_dataset_lacks_can_stay_behind(
    capsys: pytest.CaptureFixture[str], original: Path, dataset: Path, tmp_path: Path
) -> None:
    def export(root: Path, name: str, *options: object) -> Path:
        out = tmp_path / name
        run(capsys, "export", root, "--out", out, "--profile", "lerobot", *options)
        return out

    poorer = export(original, "poorer", "--without", "scene", "observation.state")
    assert check(poorer) == []
    assert set(json.loads((poorer / "meta/info.json").read_text())["features"]) == {*PLAIN[1:]}
    assert not (poorer / "videos").exists()
    _, complaint = run(capsys, "merge", dataset, poorer, "--out", tmp_path / "both", code=1)
    assert f"those that have it with --without observation.state {KEY}, and merge" in complaint
    same = export(dataset, "same", "--without", "observation.state", KEY)
    run(capsys, "merge", same, poorer, "--out", tmp_path / "both")
    assert check(tmp_path / "both") == []


def test_what_cannot_stay_behind_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], original: Path, tmp_path: Path
) -> None:
    for name in ("wrist", "timestamp"):
        _, complaint = run(capsys, "export", original, "--out", tmp_path / "plain",
                           "--profile", "lerobot", "--without", name, code=1)  # fmt: skip
        assert f"has no column or camera '{name}' to leave out, has observation.state" in complaint
    assert not (tmp_path / "plain").exists()


def test_a_dataset_whose_last_episode_was_interrupted_is_not_exported_without_it(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path
) -> None:
    (dataset / ".staging").mkdir()
    out = tmp_path / "plain"
    _, complaint = run(capsys, "export", dataset, "--out", out, "--profile", "lerobot", code=1)
    assert "was interrupted, and would be left out (.staging is there)" in complaint
    assert f"dexhil dataset repair {dataset} --apply finishes the episode" in complaint


# -- export to Rerun --------------------------------------------------------------------------


def test_a_recording_holds_every_stamp_and_value(
    capsys: pytest.CaptureFixture[str], original: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rrd"
    said, _ = run(capsys, "export", original, "--out", out, "--profile", "rerun", "--episodes", 0)
    assert said.endswith(f"Wrote {out}: 1 episodes.")
    assert said.count("The robot is not shown in three dimensions") == 1
    assert [path.name for path in out.iterdir()] == ["episode-000000.rrd"]
    columns, found = columns_of(original, 0), logged(out / "episode-000000.rrd")
    lines = {
        "/joints/arm.b/measured": columns["observation.state"][:, 1],
        "/joints/arm.b/executed": columns["action"][:, 1],
        "/joints/hand.c/person": columns["action.human"][:, 2],
        "/joints/hand.c/policy": columns["action.policy"][:, 2],
        "/state/hand.c.lag": columns["observation.state"][:, 3],
        "/authority/both": columns["authority"],
        "/authority/arm": columns["authority.arm"],
        "/age/arm": columns["age.arm"],
        "/next/reward": columns["next.reward"],
    }
    stamps_ns = np.round(1e9 * (columns["t_mono"] - columns["t_mono"][0])).astype(np.int64)
    for path, expected in lines.items():
        values = np.array([value[0] for value in found[path]["Scalars:scalars"]], np.float64)
        np.testing.assert_array_equal(values, expected.astype(np.float64), err_msg=path)
        np.testing.assert_array_equal(found[path]["time"].astype(np.int64), stamps_ns)
        np.testing.assert_array_equal(found[path]["frame"], np.arange(12))
    changes = found["/driver/mode"]
    assert changes["frame"].tolist() == [0, 5]
    assert [state[0] for state in changes["StateChange:state"]] == ["POLICY", "HUMAN"]
    assert [s[0] for s in found["/driver/source"]["StateChange:state"]] == ["POLICY", "HUMAN"]
    marks = found["/driver/intervention"]["StateChange:state"]
    assert [mark[0] for mark in marks] == ["none", "intervention"]
    camera = found["/cameras/scene"]
    assert (
        bytes(np.array(camera["AssetVideo:blob"][0][0], np.uint8))
        == video(original, 0).read_bytes()
    )
    shown_ns = [reference[0] for reference in camera["VideoFrameReference:timestamp"]]
    np.testing.assert_allclose(shown_ns, 1e9 * np.arange(12) / 20, atol=1e5)
    assert "lift, success, 12 frames" in found["/episode"]["TextDocument:text"][0][0]


def test_every_episode_is_exported_and_lerobots_own_sets_are_too(
    dataset: Path, tmp_path: Path
) -> None:
    pytest.importorskip("rerun")
    in_one_file(dataset, ["observation.state", "action", KEY, *PLAIN[6:]])
    files = list(rerun_export.export(Episodes(dataset), tmp_path / "rrd"))
    assert [path.name for path in files] == [f"episode-{k:06d}.rrd" for k in range(3)]
    found = logged(files[1])
    np.testing.assert_array_equal(
        found["/period"]["time"].astype(np.int64),
        np.round(1e9 * columns_of(dataset, 1)["timestamp"].astype(np.float64)).astype(np.int64),
    )
    assert "/driver/mode" not in found


def test_a_short_video_is_refused(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    shutil.copy(video(dataset, 1), video(dataset, 0))
    with pytest.raises(Exception, match="has 7 frames of the episode, expected 12"):
        list(rerun_export.export(Episodes(dataset), tmp_path / "rrd"))
    assert not (tmp_path / "rrd").exists()


def test_without_rerun_one_sentence_says_what_to_install(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RunError, match=r"pip install 'dexhil\[view\]'"):
        Episodes(original)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--profile", "lerobot", "--episodes", 1),
            "--episodes and --side belong to --profile rerun",
        ),
        (
            ("--profile", "lerobot", "--side", "left"),
            "--episodes and --side belong to --profile rerun",
        ),
        (("--profile", "rerun", "--is-intervention"), "belong to --profile lerobot"),
        (("--profile", "rerun", "--without", "scene"), "belong to --profile lerobot"),
        (("--profile", "rerun", "--episodes", 7), "has no episode 7, it has 3"),
    ],
)
def test_options_of_the_other_profile_are_refused(
    capsys: pytest.CaptureFixture[str],
    original: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    message: str,
) -> None:
    _, complaint = run(capsys, "export", original, "--out", tmp_path / "out", *options, code=1)
    assert message in complaint
    assert not (tmp_path / "out").exists()
