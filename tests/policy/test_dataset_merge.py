"""Merging puts demonstrations and corrections together and changes nothing that was recorded."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dexhil.policy.episodes import DatasetError, DatasetReader, DatasetWriter, Features, check
from dexhil.policy.episodes import merge as module
from dexhil.policy.episodes.errors import CorruptError, FeaturesError
from dexhil.policy.episodes.layout import write_parquet
from dexhil.policy.episodes.merge import merge
from dexhil.policy.episodes.repair import repair
from dexhil.policy.episodes.schema import from_table
from tests.policy.datasets import (
    EPISODES,
    FEATURES,
    FPS,
    KEY,
    add_frames,
    columns_of,
    data,
    edit_json,
    in_one_file,
    record,
    spoil,
    video,
)

CORRECTIONS = ((6, "turn", True), (5, "push", True))


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "demonstrations", person_from=0)


@pytest.fixture(scope="module")
def corrections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "corrections", CORRECTIONS, seed=1)


def without(root: Path, folder: Path, *names: str) -> Path:
    """Return a copy of a dataset as it would be if it had been recorded without some columns."""
    copy = shutil.copytree(root, folder / "older")
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    kept = {name: entry for name, entry in features.items() if name not in names}
    edit_json(copy / "meta/info.json", {"features": kept})
    for path in (copy / "data/chunk-000").iterdir():
        table = pq.ParquetFile(path).read()
        columns = from_table(table, FEATURES)
        write_parquet(Features.from_info(kept).to_table(columns), path)
    return Path(copy)


def test_all_episodes_follow_each_other_and_nothing_but_numbers_differs(
    demonstrations: Path, corrections: Path, tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []
    out = tmp_path / "both"
    merged = merge(
        [demonstrations, corrections], out, progress=lambda done, of: steps.append((done, of))
    )
    assert (merged.n_episodes, merged.n_frames) == (5, 39)
    assert merged.added == {demonstrations: [], corrections: []}
    assert check(out) == []
    reader = DatasetReader(out)
    assert [(e.length, e.task, e.success) for e in reader.episodes] == [*EPISODES, *CORRECTIONS]
    n_before = 0
    for episode, entry in enumerate(reader.episodes):
        root, old = (demonstrations, episode) if episode < 3 else (corrections, episode - 3)
        before, after = columns_of(root, old), columns_of(out, episode)
        for name in before.keys() - {"episode_index", "index", "task_index"}:
            assert before[name].tobytes() == after[name].tobytes(), name
        assert after["index"].tolist() == list(range(n_before, n_before + entry.length))
        n_before += entry.length
    assert columns_of(out, 3)["task_index"].tolist() == [1] * 6  # "turn" has its number already.
    assert columns_of(out, 4)["task_index"].tolist() == [2] * 5
    assert steps[-1][0] == steps[-1][1]


def test_videos_are_the_same_files_and_take_no_space_but_tables_are_copies(
    demonstrations: Path, corrections: Path, tmp_path: Path
) -> None:
    merge([demonstrations, corrections], tmp_path / "both")
    assert video(tmp_path / "both", 3).samefile(video(corrections, 0))
    assert not data(tmp_path / "both", 0).samefile(data(demonstrations, 0))
    assert data(tmp_path / "both", 0).read_bytes() == data(demonstrations, 0).read_bytes()


def test_a_disk_without_links_gets_copies(
    demonstrations: Path, corrections: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    merge([demonstrations, corrections], tmp_path / "both")
    copy, source = video(tmp_path / "both", 3), video(corrections, 0)
    assert not copy.samefile(source)
    assert copy.read_bytes() == source.read_bytes()


def test_what_an_older_dataset_lacks_is_marked_absent(
    demonstrations: Path, corrections: Path, tmp_path: Path
) -> None:
    older = without(demonstrations, tmp_path, "intervention", "authority.arm", "age.glove")
    for order in ([older, corrections], [corrections, older]):
        out = tmp_path / f"both-{order.index(older)}"
        merged = merge(order, out)
        assert sorted(merged.added[older]) == ["age.glove", "authority.arm", "intervention"]
        assert check(out) == []
        columns = columns_of(out, 0 if order[0] == older else 2)
        assert columns["intervention"].tolist() == [False] * 12
        assert np.isnan(columns["authority.arm"]).all()
        old = columns_of(demonstrations, 0)
        np.testing.assert_array_equal(columns["action"], old["action"])


def other_robot(tmp_path: Path, *, joints: list[str], fps: int, robot: str) -> Path:
    features = Features.for_rig(arm_joints=joints, hand_joints=["c"], cameras={"scene": (48, 64)})
    with DatasetWriter(tmp_path / "other", features, fps, robot) as writer:
        if len(joints) == 2:
            writer.begin_episode("lift")
            add_frames(writer, 3)
            writer.end_episode()
    return tmp_path / "other"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"joints": ["a", "z"]}, r"differ in arm\.b, arm\.z.* not the same robot"),
        ({"joints": ["b", "a"]}, "have their elements in another order"),
        ({"fps": 30}, "frames per second 30, but .*demonstrations has 20"),
        ({"robot": "real"}, "robot type real, but .*demonstrations has sim"),
        ({"robot": "sim_left"}, "robot type sim_left, but .*demonstrations has sim"),
    ],
)
def test_another_robot_or_rate_is_refused_by_name(
    demonstrations: Path, tmp_path: Path, kind: dict[str, Any], message: str
) -> None:
    other = other_robot(tmp_path, **{"joints": ["a", "b"], "fps": FPS, "robot": "sim", **kind})
    with pytest.raises(FeaturesError, match=message):
        merge([demonstrations, other], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_column_that_no_episode_may_lack_is_refused_by_name(
    demonstrations: Path, corrections: Path, tmp_path: Path
) -> None:
    older = without(demonstrations, tmp_path, "t_mono")
    with pytest.raises(
        FeaturesError,
        match=r"older: has no t_mono, .* Export all of them with --profile lerobot and merge those",
    ):
        merge([corrections, older], tmp_path / "both")


def test_what_an_export_would_keep_is_advised_to_be_left_out_of_it(
    demonstrations: Path, corrections: Path, tmp_path: Path
) -> None:
    older = without(demonstrations, tmp_path, "t_mono", "observation.state")
    advice = r"--profile lerobot, those that have it with --without observation\.state, and merge"
    with pytest.raises(FeaturesError, match=rf"has no observation\.state, t_mono, .* {advice}"):
        merge([corrections, older], tmp_path / "both")
    features = json.loads((corrections / "meta/info.json").read_text())["features"]
    other = shutil.copytree(corrections, tmp_path / "other")
    features[KEY]["info"]["video.codec"] = "av1"
    edit_json(other / "meta/info.json", {"features": features})
    with pytest.raises(FeaturesError, match=rf"video\.codec is h264 .* --without {KEY}, and merge"):
        merge([demonstrations, other], tmp_path / "both")


@pytest.mark.parametrize("name", [".staging", ".salvage", None])
def test_an_input_whose_last_episode_was_interrupted_is_refused_and_named(
    demonstrations: Path, corrections: Path, tmp_path: Path, name: str | None
) -> None:
    killed = Path(shutil.copytree(demonstrations, tmp_path / "killed"))
    if name is None:  # Between data and info.json.
        edit_json(killed / "meta/info.json", {"total_episodes": 2})
        name = "data/chunk-000/file-002.parquet"
    else:
        (killed / name).mkdir()
    with pytest.raises(DatasetError, match=rf"killed: .* was interrupted, .*{name}.* --apply"):
        merge([corrections, killed], tmp_path / "both")
    repair(killed, apply=True)
    assert merge([corrections, killed], tmp_path / "both").n_episodes == 5


def test_a_dataset_that_is_given_twice_is_refused_and_named(
    demonstrations: Path, corrections: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(demonstrations)
    monkeypatch.chdir(demonstrations.parent)
    for again in (demonstrations, Path("demonstrations"), tmp_path / "link"):
        message = rf"{again}: is given twice \(as {demonstrations} before\)"
        with pytest.raises(DatasetError, match=message):
            merge([demonstrations, corrections, again], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_damaged_input_makes_no_output(
    demonstrations: Path, corrections: Path, tmp_path: Path
) -> None:
    spoiled = shutil.copytree(corrections, tmp_path / "spoiled")
    spoil(spoiled, 1, lambda columns: columns["action"].put(0, np.nan))
    with pytest.raises(CorruptError, match=r"episode 4: action is not finite.*Nothing was written"):
        merge([demonstrations, spoiled], tmp_path / "both")
    video(spoiled, 0).unlink()
    with pytest.raises(CorruptError, match=r"file-000\.mp4: is missing"):
        merge([demonstrations, spoiled], tmp_path / "both")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spoiled"]


def test_an_interrupt_leaves_nothing_behind(
    demonstrations: Path, corrections: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "require_sound", interrupt)
    with pytest.raises(KeyboardInterrupt):
        merge([demonstrations, corrections], tmp_path / "both")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_merged_is_refused(
    demonstrations: Path, corrections: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="1 dataset given"):
        merge([demonstrations], tmp_path / "both")
    with pytest.raises(DatasetError, match="is there already"):
        merge([demonstrations, corrections], demonstrations)
    theirs = shutil.copytree(demonstrations, tmp_path / "theirs")
    in_one_file(theirs, list(FEATURES))
    with pytest.raises(DatasetError, match="holds 3 episodes; only datasets with one episode"):
        merge([theirs, corrections], tmp_path / "both")


def test_recording_goes_on_in_a_merged_dataset(
    demonstrations: Path, corrections: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both"
    merge([demonstrations, corrections], out)
    before = video(demonstrations, 0).read_bytes()
    record(out, [(6, "lift", True)])
    assert check(out) == []
    assert len(DatasetReader(out)) == 6
    assert check(demonstrations) == []
    assert video(demonstrations, 0).read_bytes() == before
