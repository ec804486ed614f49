"""What every test of this project gets, asked for or not."""

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("dexhil", deadline=None, derandomize=True, database=None)
settings.load_profile("dexhil")


@pytest.fixture(autouse=True)
def _same_seed_every_time() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # For libraries that use the global generator.


@pytest.fixture(autouse=True)
def _the_log_is_as_loud_as_before() -> Iterator[None]:
    """Benchmarks silence it for good: theirs is a process of its own, except in a test."""
    ours, disabled = logging.getLogger("dexhil"), logging.root.manager.disable
    level = ours.level
    yield
    ours.setLevel(level)
    logging.disable(disabled)


@pytest.fixture(scope="session")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _home_is_elsewhere(monkeypatch: pytest.MonkeyPatch, _elsewhere: Path) -> None:
    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(_elsewhere))


@pytest.fixture(autouse=True)
def _nothing_outlives_a_test() -> Iterator[None]:
    """A thread or a process that a test forgets may drive a robot."""
    threads, children = set(threading.enumerate()), _children()
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(timeout=1.0)  # One that is just ending is not forgotten.
    left = [thread.name for thread in set(threading.enumerate()) - threads]
    assert not left, f"threads outlive the test: {left}"
    born = _children() - children
    assert not born, f"processes outlive the test: {born}"


def _children() -> set[str]:
    """Processes started by this one and not waited for. Known on Linux only."""
    born: set[str] = set()
    for children in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # That thread has just ended.
            born.update(children.read_text().split())
    return born
