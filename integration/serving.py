"""What ``dexhil serve`` does."""

import asyncio
import os
from pathlib import Path

from rich.console import Console

from dexhil.integration.policies import require_remote


def serve(checkpoint: Path, *, host: str, port: int, seed: int, console: Console) -> None:
    """Serve a policy until Ctrl-C.

    Raises:
        RunError: What speaks to other machines is not installed.
        PolicyError: The checkpoint cannot be read, or the address cannot be had.
    """
    require_remote()
    from dexhil.policy.checkpoint import Checkpoint  # noqa: PLC0415  # Torch takes a while.
    from dexhil.policy.remote.config import API_KEY_ENV, Served  # noqa: PLC0415  # An extra.
    from dexhil.policy.remote.server import PolicyServer  # noqa: PLC0415  # An extra.
    from dexhil.policy.runner import Runner  # noqa: PLC0415

    loaded = Checkpoint.load(checkpoint)
    config = loaded.config
    about = Served(
        observations=dict(config.observations),
        cameras=config.cameras,
        action_dim=config.action_dim,
        execute_steps=config.execute_steps,
    )
    api_key = os.environ.get(API_KEY_ENV)
    server = PolicyServer(Runner(loaded, seed=seed), about, host=host, port=port, api_key=api_key)

    def ready(url: str) -> None:
        shown = ", ".join((*about.observations, *about.cameras))
        console.print(f"Serving {checkpoint} at {url}, until Ctrl-C.", soft_wrap=True)
        console.print(f"It is shown {shown} and answers for {about.action_dim} joints.")
        if api_key is None:
            console.print(f"Whoever reaches that address is served: {API_KEY_ENV} is not set.")

    asyncio.run(server.run(ready))
