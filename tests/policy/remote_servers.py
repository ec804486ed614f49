"""Policy servers to talk to: ours, as a thread or a process, and ones that misbehave."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from websockets.sync.server import ServerConnection, serve

from dexhil.policy.episodes import Features
from dexhil.policy.remote.config import Served
from dexhil.policy.remote.packing import pack, unpack
from dexhil.policy.remote.server import PolicyServer

HORIZON, JOINTS = 6, 3
FRONT, WRIST = "observation.images.front", "observation.images.wrist"
FEATURES = Features.for_rig(
    arm_joints=["a", "b"],
    hand_joints=["c"],
    cameras={"front": (48, 64), "wrist": (20, 20)},
    environment_state=["x", "y"],
)
ABOUT = Served(
    observations={"observation.state": 4, "observation.environment_state": 2},
    cameras=(FRONT,),
    action_dim=JOINTS,
    execute_steps=3,
)


class Parrot:
    """Says what it was shown: the state, the sum of the front picture, how often it was reset."""

    def __init__(self, says: str | None = None) -> None:
        self.says, self.resets = says, 0

    def reset(self) -> None:
        self.resets += 1

    def infer(self, observation: Mapping[str, Any]) -> Any:
        if self.says is not None:
            raise RuntimeError(self.says)
        state, front = observation["observation.state"], observation[FRONT]
        return np.tile([state[0], float(front.sum()), self.resets], (HORIZON, 1))


def shown(state: float = 0.5, light: int = 1) -> dict[str, Any]:
    """Return an observation of the rig that ``FEATURES`` describes."""
    return {
        "observation.state": np.array([state, 0.1, 0.2, 0.3]),
        "observation.environment_state": np.array([7.0, 8.0]),
        FRONT: np.full((48, 64, 3), light, np.uint8),
        WRIST: np.full((20, 20, 3), 9, np.uint8),
    }


def wait(until: Callable[[], Any]) -> Any:
    give_up_s = time.monotonic() + 20.0
    while not (value := until()):
        assert time.monotonic() < give_up_s, "it never happened"
        time.sleep(0.002)
    return value


@contextmanager
def served(
    policy: Any = None, *, port: int = 0, about: Served = ABOUT, api_key: str | None = None
) -> Iterator[str]:
    """Serve a policy from a thread; yield its address."""
    server = PolicyServer(policy or Parrot(), about, port=port, api_key=api_key)
    started, urls = threading.Event(), list[str]()
    loop, tasks = asyncio.new_event_loop(), list[asyncio.Task[None]]()

    def ready(url: str) -> None:
        urls.append(url)
        started.set()

    def run() -> None:
        tasks.append(loop.create_task(server.run(ready)))
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(asyncio.wait(tasks))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(10.0)
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(tasks[0].cancel)
        thread.join()


@contextmanager
def served_by_a_process(port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve a parrot from a process; yield its address and the process."""
    program = (
        "import asyncio\n"
        "from tests.policy.remote_servers import ABOUT, Parrot, PolicyServer\n"
        f"server = PolicyServer(Parrot(), ABOUT, port={port})\n"
        "asyncio.run(server.run(lambda url: print(url, flush=True)))\n"
    )
    arguments = [sys.executable, "-c", program]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


Say = Callable[[ServerConnection, Any], None]


@contextmanager
def fake(
    say: Say, *, greeting: bytes | str = pack({}), refusal: Callable[..., Any] | None = None
) -> Iterator[str]:
    """Serve whatever ``say`` does with each request; yield the address."""

    def converse(connection: ServerConnection) -> None:
        connection.send(greeting)
        for message in connection:
            say(connection, unpack(message))

    with serve(converse, "127.0.0.1", 0, process_request=refusal, close_timeout=0.1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def says(message: Any) -> Say:
    """Answer everything with ``message``."""
    return lambda connection, _: connection.send(
        message if isinstance(message, str | bytes) else pack(message)
    )


def actions(n: int = JOINTS, horizon: int = HORIZON, value: float = 0.5) -> dict[str, Any]:
    return {"actions": np.full((horizon, n), value, np.float32)}


def then(first: Say, *others: Say) -> Say:
    """Do one thing with the first request, other things with those after it."""
    script = iter((first, *others))
    last = others[-1] if others else first

    def say(connection: ServerConnection, request: Any) -> None:
        next(script, last)(connection, request)

    return say
