"""The benchmarks of recording run, print numbers, and see a loss where there is one."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexhil.policy.episodes import DatasetWriter

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def module_of(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def cells(text: str, label: str) -> list[str]:
    """The row of a table that begins with ``label``."""
    (line,) = [line for line in text.splitlines() if line.strip("│ ").startswith(label)]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_kills_cost_no_finished_episode_and_at_most_a_second_of_the_open_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module_of("durability").main(["--kills", "1", "--longest-run-s", "0.5"])
    printed = capsys.readouterr().out
    for whom in ("program and writer", "program only", "writer only"):
        _, kills, _, _, lost, most_lost_s, spoilt, _ = cells(printed, whom)
        assert (kills, lost, spoilt) == ("1", "0", "0")
        assert float(most_lost_s) <= 1.0


def test_a_lost_episode_and_a_spoilt_frame_are_counted(tmp_path: Path) -> None:
    module = module_of("durability")
    with DatasetWriter(tmp_path / "dataset", module.FEATURES, module.FPS) as writer:
        for success in (True, None):
            writer.begin_episode("lift")
            for k in range(4):
                picture = np.zeros_like(module.image(0)) if k == 3 else module.image(k)
                writer.add_frame(module.row(writer.n_episodes, k), {"scene": picture})
            writer.end_episode(success)
    said, toll = module.Said(killed_s=10.0), module.Toll()
    for episode, n in enumerate((4, 4, 6, 3)):
        for k in range(n):
            said.take("frame", episode, 1.0 + episode + 0.1 * k)
    for episode in (0, 1, 2):
        said.take("ended", episode, 9.9)
    for episode in (0, 1, 2):
        said.take("saved", episode, 9.95)
    toll.add(said, tmp_path / "dataset")
    assert toll.saved == 3
    assert toll.lost == 2, "episode 1 lost its label, episode 2 is not there"
    assert toll.lost_s == pytest.approx(7.0), "the first frame of episode 2"
    assert toll.spoilt == 2
    (tmp_path / "dataset/data/chunk-000/file-000.parquet").unlink()
    toll.add(module.Said(killed_s=20.0), tmp_path / "dataset")
    assert toll.lost == 4, "episode 0 was lost since, and 1 is 0 now"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("print('frame 0 1.0')", "status 0"),
        ("print('ended 0 1.0')", "status 0"),
        ("import sys; print('ended 0 1.0'); sys.exit(3)", "status 3"),
    ],
)
def test_a_program_that_ends_by_itself_is_no_kill(program: str, why: str) -> None:
    with pytest.raises(RuntimeError, match=f"ended by itself with {why}"):
        module_of("durability").run_and_kill([sys.executable, "-c", program], "it", "ended", 60.0)


def test_what_a_mishap_costs_is_counted(tmp_path: Path) -> None:
    module = module_of("disks")
    with DatasetWriter(tmp_path, module.FEATURES, module.FPS) as writer:
        for n in (module.FPS, 5):
            writer.begin_episode("lift")
            for _ in range(n):
                picture = np.zeros((module.HEIGHT, module.WIDTH, 3), np.uint8)
                writer.add_frame(module.row(), {"scene": picture})
            writer.end_episode()
    said = module.kept(tmp_path, 7, "full")
    assert said == (
        "finished episode whole; 7 frames taken until the end, 2 of them missing (0.10 s); full"
    )


def test_recording_prints_what_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    module_of("recording").main(["--seconds", "0.5", "--cameras", "1"])
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("│") and "process" in line]
    assert len(lines) == 2
    for line in lines:
        added, blocked, on_disk, opens, n_bytes = line.strip("│").split("│")[2:]
        assert all(float(ms) > 0.0 for ms in added.split("/"))
        assert float(on_disk) > 0.0
        assert float(blocked) > 0.0
        assert float(opens) > 0.0
        assert float(n_bytes) > 0.0
