"""Every code block of the README runs. Sizes are cut down; nothing else is changed."""

import re
import shlex
import shutil
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
    shutil.copytree(ROOT / "rigs", tmp_path / "rigs")
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
    dexhil = [words[1:] for words in commands if words[0] == "dexhil"]
    assert len(dexhil) >= 8
    for words in dexhil:
        with pytest.raises(SystemExit) as stop:
            cli.main(shrink(words))
        assert stop.value.code == 0, words


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
                assert program == "dexhil"


@pytest.mark.usefixtures("home")
def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert "leap" in capsys.readouterr().out


def test_every_file_the_readme_points_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
