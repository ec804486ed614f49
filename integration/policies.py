"""Which policy drives: a checkpoint on this machine, or one that is served elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Union

from dexhil.integration.bench import Bench
from dexhil.integration.errors import RunError
from dexhil.integration.live import policy_process, teleop_config
from dexhil.integration.recorder import rig_features
from dexhil.integration.rig import Rig
from dexhil.policy.process import ProcessPolicy

if TYPE_CHECKING:
    from dexhil.policy.remote import RemotePolicy
    from dexhil.policy.runner import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """Which policy drives: name one.

    Attributes:
        checkpoint: Folder of the policy.
        remote: Policy that is served elsewhere: ws://HOST:PORT of `dexhil serve`, or a TOML file
            that says what another server wants to see; see docs/remote.md.
    """

    checkpoint: Path | None = None
    remote: str | None = None

    def check(self) -> None:
        """Refuse none and two.

        Raises:
            RunError: So it is, or something to reach a server with is not installed.
        """
        if (self.checkpoint is None) == (self.remote is None):
            raise RunError("Name one policy: --checkpoint FOLDER, or --remote ws://HOST:PORT.")
        if self.remote is not None:
            require_remote()


def require_remote() -> None:
    """Refuse to go on without what speaks to other machines.

    Raises:
        RunError: It is not installed.
    """
    if find_spec("websockets") is None or find_spec("msgpack") is None:
        raise RunError(
            "Policies elsewhere need websockets and msgpack. Try: pip install 'dexhil[remote]'"
        )


def process_for(rig: Rig, choice: PolicyChoice, *, task: str, seed: int = 0) -> ProcessPolicy:
    """Return the policy in a process of its own, not yet started: no loop waits for it.

    Args:
        rig: Whose cameras it may see. Not necessarily connected.
        choice: Which.
        task: What the robot is asked to do.
        seed: Of a checkpoint's noise.

    Raises:
        RunError: None or two are chosen.
        RemoteError: The server is described wrongly, or is not there.
    """
    choice.check()
    if choice.checkpoint is not None:
        return policy_process(rig, choice.checkpoint, seed=seed)
    from dexhil.policy.remote import load_remote  # noqa: PLC0415  # An extra.

    features = rig_features(rig)
    options = {
        "config": load_remote(str(choice.remote)),
        "features": features,
        "task": task,
        "rate_hz": teleop_config(rig).policy_rate_hz,
    }
    shapes = {
        f"observation.images.{name}": (camera.spec.height, camera.spec.width, 3)
        for name, camera in rig.cameras.items()
    }
    return ProcessPolicy("dexhil.policy.remote:RemotePolicy", options, shapes)


@contextmanager
def on_bench(
    rig_path: Path, task: str, choice: PolicyChoice, *, seed: int = 0
) -> Iterator[tuple[Bench, Union["Runner", "RemotePolicy"]]]:
    """Yield a bench, with cameras if the policy looks through any, and the policy in this process.

    On the simulated clock everything waits for it, and nothing is late.

    Args:
        rig_path: A rig file with a ``[world]``.
        task: Name of the simulated task.
        choice: Which policy.
        seed: Of a checkpoint's noise.

    Raises:
        RunError: None or two are chosen.
        PolicyError: It cannot be loaded, or the server is not there.
    """
    choice.check()
    if choice.checkpoint is not None:
        from dexhil.policy.runner import Runner  # noqa: PLC0415  # Torch takes a while.

        runner = Runner.load(choice.checkpoint, seed=seed)
        with Bench(rig_path, task, cameras=bool(runner.cameras)) as bench:
            yield bench, runner
        return
    from dexhil.policy.remote import RemotePolicy, load_remote  # noqa: PLC0415  # An extra.

    config = load_remote(str(choice.remote))
    with Bench(rig_path, task, cameras=bool(config.cameras)) as bench:
        features = rig_features(bench.rig, bench.task.environment_names)
        prompt, rate_hz = bench.task.prompt, bench.config.policy_rate_hz
        with RemotePolicy(config, features, task=prompt, rate_hz=rate_hz) as remote:
            yield bench, remote
