"""Every code block of the README runs. Sizes are cut down; nothing else is changed."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dexhil.integration import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {"--episodes": "2", "--steps": "5", "--starts": "2", "--takeovers": "1"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("rigs", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shrink(words: list[str]) -> list[str]:
    for option, value in SMALL.items():
        if option in words:
            words[words.index(option) + 1] = value
    return words


@pytest.mark.usefixtures("home")
@pytest.mark.timeout(300)
def test_every_command_of_the_readme_runs() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    commands = [shlex.split(line, comments=True) for line in lines]
    assert sum(words[0] == "dexhil" for words in commands) >= 8
    with ExitStack() as stack:
        for program, *words in commands:
            if program == "dexhil" and words[-1] == "&":
                stack.enter_context(in_background(words[:-1]))
            elif program == "dexhil":
                with pytest.raises(SystemExit) as stop:
                    cli.main(shrink(words))
                assert stop.value.code == 0, words
            elif program == "pytest":
                # One test of each kind; all of them are run by other tests.
                few = ["-k", "TestStreams or TestMotion", "--listen-s", "0.5", "-q"]
                command = [sys.executable, "-m", "pytest", *words, *few, "-p", "no:cacheprovider"]
                assert subprocess.run(command, check=False).returncode == 0, words


@contextmanager
def in_background(words: list[str]) -> Iterator[None]:
    """Run a command of ours that goes on, from when it has written its rig file."""
    rig = Path(words[words.index("--rig") + 1])
    program = "from dexhil.integration.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", program, *words], stdin=subprocess.DEVNULL)
    try:
        give_up_s = time.monotonic() + 60.0
        while not (rig.exists() and rig.stat().st_size):
            assert process.poll() is None
            assert time.monotonic() < give_up_s
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)


def test_every_other_line_of_the_readme_is_a_make_target_that_ci_runs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for block in blocks("sh"):
        for line in filter(None, block.splitlines()):
            program, argument = shlex.split(line, comments=True)[:2]
            if program == "make":
                assert re.search(rf"^{argument}:", makefile, flags=re.MULTILINE)
                assert f"make {argument}" in ci
            else:
                assert program in ("dexhil", "pytest")


@pytest.mark.usefixtures("home")
def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert "leap" in capsys.readouterr().out


def test_every_file_the_readme_points_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
