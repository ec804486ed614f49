"""A hand in a package of its own, in an environment of its own, passes the published suite.

The environment holds dexhil and the example as they would be installed from an index, not as
they lie in this checkout: a file that the package forgets is missing there. Only what they
depend on is borrowed from the environment of the tests, for that takes half a minute and a
gigabyte to install again.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("dexhil", "drivers", "retarget", "teleop", "policy", "integration", "hil_tests")
FILES = ("pyproject.toml", "README.md", "LICENSE")

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program of the environment, somewhere else than in this checkout."""
    folder = tmp_path_factory.mktemp("fresh")
    # Building leaves files behind, which do not belong into a checkout.
    source = folder / "source"
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=unwanted)
    for file in FILES:
        shutil.copy(ROOT / file, source)
    example = ROOT / "examples" / "acme_hand"
    shutil.copytree(example, folder / "acme_hand", ignore=shutil.ignore_patterns("*.egg-info"))

    environment = folder / "venv"
    venv.create(environment, symlinks=True)
    paths = {"base": str(environment), "platbase": str(environment)}
    borrowed = Path(sysconfig.get_path("purelib", "venv", paths)) / "borrowed.pth"
    borrowed.write_text(sysconfig.get_path("purelib"))

    def run(program: str, *arguments: object) -> str:
        # Nothing of this checkout or of the test that runs may show through.
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS")
        done = subprocess.run(
            [str(environment / "bin" / program), *map(str, arguments)],
            cwd=folder,
            env={k: v for k, v in os.environ.items() if k not in hidden},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    pip = (
        "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-compile",
    )
    run(*pip, source, folder / "acme_hand")
    return run


def test_it_is_this_environments_dexhil_and_not_the_checkouts(run: Run) -> None:
    code = (
        "import json, sys, dexhil, acme_hand\n"
        "print(json.dumps([sys.prefix, dexhil.__file__, acme_hand.__file__]))"
    )
    prefix, *files = json.loads(run("python", "-c", code))
    assert prefix != sys.prefix
    assert all(Path(file).is_relative_to(prefix) for file in files), files


def test_the_hand_is_listed_beside_ours(run: Run) -> None:
    listed = [line.split() for line in run("dexhil", "devices").splitlines()]
    assert ["hand", "acme", "yes"] in [words[:3] for words in listed], listed


@pytest.mark.timeout(300)
def test_the_hand_passes_the_published_suite(run: Run) -> None:
    said = run("python", "-m", "pytest", "acme_hand/tests", "-q", "-p", "no:cacheprovider")
    last = said.strip().splitlines()[-1]
    assert " passed" in last
    for bad in ("skipped", "failed", "error", "deselected"):
        assert bad not in last, said


@pytest.mark.timeout(300)
def test_the_hand_passes_the_measurements_of_a_rig(run: Run) -> None:
    arguments = (
        "--emulate",
        "acme",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "not soak and not test_conformance",
    )
    said = run("python", "-m", "pytest", "--pyargs", "dexhil.hil_tests", *arguments)
    assert " passed" in said.strip().splitlines()[-1]
    assert "skipped" not in said


def test_what_the_guide_shows_is_what_the_example_holds() -> None:
    guide = (ROOT / "docs" / "add_a_hand.md").read_text()
    example = ROOT / "examples" / "acme_hand"
    files = [path.read_text() for path in example.rglob("*") if path.suffix in {".py", ".toml"}]
    shown = re.findall(r"```(?:python|toml)\n(.*?)```", guide, flags=re.DOTALL)
    assert len(shown) > 5
    for block in shown:
        assert any(block in file for file in files), f"no file of the example holds:\n{block}"


def test_the_driver_is_as_short_as_the_guide_says() -> None:
    folder = ROOT / "examples" / "acme_hand" / "acme_hand"
    n_lines = sum(len((folder / f).read_text().splitlines()) for f in ("driver.py", "protocol.py"))
    assert n_lines < 120
