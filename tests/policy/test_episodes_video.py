"""Encoding in a thread: whatever the disk refuses and whenever, nobody waits for ever."""

import errno
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dexhil.policy.episodes import video
from dexhil.policy.episodes.video import VideoEncoder

SHAPE = (48, 64, 3)
FULL = OSError(errno.ENOSPC, "No space left on device")


class Failing:
    """A video file that the disk refuses to take, from some moment on."""

    def __init__(self, container: Any, moment: str, error: Exception) -> None:
        self._container, self._moment, self._error = container, moment, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()
        if self._moment == "close":
            raise self._error

    def mux(self, packets: list[Any]) -> None:
        if self._moment == ("frame" if packets else "flush"):
            raise self._error
        self._container.mux(packets)


@pytest.mark.parametrize("error", [FULL, MemoryError()], ids=["full", "memory"])
@pytest.mark.parametrize("moment", ["frame", "flush", "close"])
def test_a_disk_that_refuses_at_any_moment_is_told_and_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, error: Exception
) -> None:
    opened = av.open

    def failing(*arguments: Any, **options: Any) -> Failing:
        return Failing(opened(*arguments, **options), moment, error)

    with monkeypatch.context() as patch:
        patch.setattr(video.av, "open", failing)
        encoder = VideoEncoder(tmp_path / "scene.mp4", SHAPE, fps=20)
    for _ in range(4):
        encoder._queue.put(np.zeros(SHAPE, np.uint8))
    for _ in range(2):  # Who closes after an error stops a second time.
        stopping = threading.Thread(target=encoder.stop, daemon=True)
        stopping.start()
        stopping.join(10.0)
        assert not stopping.is_alive(), "stop() waits for a thread that waits for stop()"
    with pytest.raises(type(error)):
        encoder.add(np.zeros(SHAPE, np.uint8))
    with pytest.raises(type(error)):
        encoder.finish(tmp_path / "final.mp4", 4)
