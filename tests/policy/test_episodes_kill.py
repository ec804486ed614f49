"""SIGKILL at any moment: what was reported finished is readable, and recording goes on."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexhil.policy.episodes import DatasetReader, DatasetWriter, Features, catalogue, check

FPS = 20
LENGTH = 8
N_KILLS = 10

# Records for ever; frame k of episode e says 1000 e + k in its state and e in its task.
RECORDER = """
import sys
import numpy as np
from dexhil.policy.episodes import DatasetWriter, Features
features = Features.for_rig(arm_joints=["a", "b"], hand_joints=["c"], cameras={"scene": (48, 64)})
image = np.zeros((48, 64, 3), np.uint8)
with DatasetWriter(sys.argv[1], features, 20) as writer:
    print("ready", flush=True)
    while True:
        e = writer.n_episodes
        writer.begin_episode(str(e))
        for k in range(8):
            frame = {
                "observation.state": np.full(4, 1000.0 * e + k), "action": np.zeros(3),
                "intervention": False, "authority": 0.0, "source": 0, "mode": 1,
                "segment_index": 0, "t_mono": 0.05 * k,
            }
            image[:] = 20 * k
            writer.add_frame(frame, {"scene": image})
        writer.end_episode(success=True)
        print(e, flush=True)
"""


def record_until_killed(root: Path, *, n_awaited: int, after_s: float) -> list[int]:
    """Kill a recorder some time after ``n_awaited`` episodes. Returns all it said it finished."""
    recorder = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert recorder.stdout is not None
    with recorder.stdout as output:
        assert output.readline() == "ready\n"
        reported = [int(output.readline()) for _ in range(n_awaited)]
        threading.Event().wait(after_s)
        recorder.send_signal(signal.SIGKILL)
        reported += [int(line) for line in output]
    assert recorder.wait() == -signal.SIGKILL
    return reported


def require_whole(root: Path, episodes: Iterable[int]) -> None:
    """Look at every frame of these, which the recorder said it finished."""
    reader = DatasetReader(root)
    assert set(episodes) <= set(range(len(reader)))
    for e in episodes:
        episode = reader.episode(e)
        assert (episode.task, episode.success, len(episode)) == (str(e), True, LENGTH)
        expected = 1000.0 * e + np.arange(LENGTH)
        np.testing.assert_array_equal(episode.columns["observation.state"][:, 0], expected)
        brightness = [image.mean() for image in reader.images(e, "scene")]
        np.testing.assert_allclose(brightness, 20.0 * np.arange(LENGTH), atol=4)


def test_kills_at_random_moments_lose_no_finished_episode(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    finished: set[int] = set()
    for kill in range(N_KILLS):
        reported = record_until_killed(
            tmp_path, n_awaited=kill % 2, after_s=random.uniform(0.0, 0.1)
        )
        assert finished.isdisjoint(reported)
        finished.update(reported)
        assert check(tmp_path) == []
        require_whole(tmp_path, reported)
    require_whole(tmp_path, finished)  # None cost an episode of a run before.
    assert len(finished) >= N_KILLS // 2


def kill_before_publishing(
    root: Path, features: Features, record: Callable[..., int], n_published: int
) -> None:
    """Record two episodes in a child that dies in the second, before the given rename."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        return
    try:  # Nothing of the test runner may run in the child.
        writer = DatasetWriter(root, features, FPS)
        record(writer, features, task="first")
        publish, left = catalogue.publish, iter(range(n_published))

        def dying(*paths: Any) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            publish(*paths)

        catalogue.publish = dying
        record(writer, features, task="second")
    finally:
        os._exit(1)


@pytest.mark.parametrize("left", [[], ["stats.json"]])
def test_a_kill_while_a_dataset_is_made_leaves_nothing_in_the_way(
    tmp_path: Path, features: Features, record: Callable[..., int], left: list[str]
) -> None:
    (tmp_path / "meta").mkdir()
    for name in left:
        (tmp_path / "meta" / name).write_text("{}")
    with DatasetWriter(tmp_path, features, FPS) as writer:
        assert record(writer, features) == 0
    assert check(tmp_path) == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("n_published", range(6))
def test_a_kill_between_any_two_renames_is_put_right(
    tmp_path: Path, features: Features, record: Callable[..., int], n_published: int
) -> None:
    kill_before_publishing(tmp_path, features, record, n_published)
    done = n_published >= 4  # tasks, video, metadata, data: finished.
    assert check(tmp_path) == []
    assert len(DatasetReader(tmp_path)) == (2 if done else 1)
    n_data = len(list(tmp_path.glob("data/*/*.parquet")))
    assert n_data <= len(list(tmp_path.glob("meta/episodes/*/*.parquet")))
    with DatasetWriter(tmp_path, features, FPS) as writer:
        assert writer.repairs
        assert record(writer, features, task="third") == 2
    assert check(tmp_path) == []
    second = DatasetReader(tmp_path).episode(1)
    assert (second.task, second.success, len(second)) == ("second", True, 12)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
