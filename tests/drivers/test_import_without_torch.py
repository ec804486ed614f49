"""What runs on a robot imports no torch; the training of retargeting does not run there."""

import subprocess
import sys

import pytest

PROGRAM = """
import importlib, pkgutil, sys

sys.modules["torch"] = sys.modules["safetensors"] = None  # Importing them fails from here on.
package = importlib.import_module(sys.argv[1])
names = [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
names = [name for name in names if not name.startswith("dexhil.retarget.training.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.mark.parametrize("room", ["drivers", "retarget", "teleop"])
def test_every_module_of_the_room_imports_without_torch(room: str) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, f"dexhil.{room}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 1
