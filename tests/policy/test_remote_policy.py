"""A policy on another machine: what it is told and answers, and every way it can fail."""

import http
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest
from websockets.http11 import Request
from websockets.server import ServerProtocol

from dexhil.policy.errors import LostError, RemoteError
from dexhil.policy.remote import client
from dexhil.policy.remote.client import RemotePolicy
from dexhil.policy.remote.config import Entry, RemoteConfig, load_remote
from dexhil.policy.remote.link import Link
from dexhil.policy.remote.packing import pack
from tests.policy.remote_servers import (
    FEATURES,
    FRONT,
    HORIZON,
    Say,
    actions,
    fake,
    says,
    served,
    served_by_a_process,
    shown,
    then,
    wait,
)

Told = list[dict[str, Any]]


def config(url: str, **changes: Any) -> RemoteConfig:
    observation = (
        Entry(key="state", numbers="arm"),
        Entry(key="image", camera="front", size=(8, 8)),
    )
    return RemoteConfig(**{"url": url, "observation": observation, **changes})


def remote(url: str, **changes: Any) -> RemotePolicy:
    return RemotePolicy(config(url, **changes), FEATURES, task="lift")


def noting(told: Told, say: Say | None = None) -> Say:
    """Note each request, then do as ``say``."""
    answer = says(actions()) if say is None else say

    def note(connection: Any, request: Any) -> None:
        told.append(request)
        answer(connection, request)

    return note


def test_a_policy_served_by_us_is_used_by_its_address_alone() -> None:
    with served_by_a_process() as (url, _), remote_of_ours(url) as policy:
        assert policy.execute_steps == 3
        assert policy.cameras == (FRONT,)
        policy.reset()
        for light, resets in ((1, 2), (2, 2)):  # The blank observation was the first drive.
            chunk = policy.infer(shown(0.5, light))
            expected = [0.5, light * 48 * 64 * 3, resets]
            np.testing.assert_array_equal(chunk, [expected] * HORIZON)
        policy.reset()
        assert policy.infer(shown())[0, 2] == 3


@contextmanager
def remote_of_ours(url: str) -> Iterator[RemotePolicy]:
    with RemotePolicy(load_remote(url), FEATURES, task="lift") as policy:
        yield policy


def test_a_server_is_tried_with_nothing_to_see_before_it_is_asked() -> None:
    told: Told = []
    with fake(noting(told)) as url, remote(url, execute_steps=2) as policy:
        assert policy.execute_steps == 2
        np.testing.assert_array_equal(policy.infer(shown(0.5)), np.full((HORIZON, 3), 0.5))
    assert [list(request) for request in told] == [["state", "image", "prompt"]] * 2
    assert not told[0]["state"].any()
    np.testing.assert_allclose(told[1]["state"], [0.5, 0.1])


def test_half_of_a_chunk_is_executed_unless_somebody_says_otherwise() -> None:
    with fake(says(actions(horizon=7))) as url, remote(url) as policy:
        assert policy.execute_steps == 3
    with fake(says(actions(horizon=1))) as url, remote(url) as policy:
        assert policy.execute_steps == 1


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        (says(actions(n=22)), r"'actions' has shape \(6, 22\), expected \(horizon, 3\): this robo"),
        (says(actions(value=np.nan)), "'actions' is not finite"),
        (says({"action": 1}), "no array 'actions'"),
        (says("Traceback:\n  line\nKeyError: 'base_0_rgb'\n"), "it says: KeyError: 'base_0_rgb'"),
        (says(""), "it says: nothing"),
        (says(b"\xc1"), "1 bytes that are no message of openpi's"),
        (lambda connection, _: connection.close(1011, "out of memory"), "closed.*out of memory"),
        (lambda connection, _: connection.socket.shutdown(socket.SHUT_RDWR), "connection broke"),
    ],
)
def test_a_server_that_talks_nonsense_is_refused_at_once_by_name(say: Say, reason: str) -> None:
    with fake(say) as url, pytest.raises(LostError, match=rf"^{url}: .*{reason}"):
        remote(url)


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        (says(actions(n=22)), r"shape \(6, 22\)"),
        (says(actions(value=np.inf)), "not finite"),
        (says("ValueError: no"), "it says: ValueError: no"),
        (says(b""), "0 bytes"),
        (lambda *_: None, r"no answer within 0\.1 s"),
    ],
)
def test_a_server_that_loses_its_mind_later_is_lost_until_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, say: Say, reason: str
) -> None:
    monkeypatch.setattr(client, "AGAIN_S", 0.0)
    script = then(says(actions()), say, says(actions()))
    with fake(script) as url, remote(url, answer_s=0.1) as policy:
        with pytest.raises(LostError, match=rf"^{url}: .*{reason}"):
            policy.infer(shown())
        with pytest.raises(LostError, match=reason):
            policy.infer(shown())  # Nobody comes back by asking.
        policy.tend()
        policy.infer(shown())


@contextmanager
def deaf() -> Iterator[str]:
    """Greet one client, then read nothing that it says; yield the address."""
    end = threading.Event()

    def greet(listener: socket.socket) -> None:
        protocol, (peer, _) = ServerProtocol(), listener.accept()
        with peer:
            while not (requests := protocol.events_received()):
                protocol.receive_data(peer.recv(4096))
            protocol.send_response(protocol.accept(cast("Request", requests[0])))
            protocol.send_binary(pack({}))
            for data in protocol.data_to_send():
                peer.sendall(data)
            end.wait(20.0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet, args=[listener])
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            end.set()
            thread.join()


def test_a_server_that_does_not_read_is_lost_like_one_that_does_not_answer() -> None:
    with deaf() as url, Link(url) as link:
        with pytest.raises(LostError, match=r"no answer within 0\.2 s"):
            link.ask({"image": np.zeros(1 << 23, np.uint8)}, 0.2)
        assert not link.is_open


def test_a_link_that_failed_is_not_used_again() -> None:
    with fake(lambda *_: None) as url, Link(url) as link:
        assert link.is_open
        with pytest.raises(LostError, match="no answer"):
            link.ask({}, 0.05)
        assert not link.is_open


def test_an_answer_that_nobody_asked_for_is_not_taken_for_one() -> None:
    def twice(connection: Any, _: Any) -> None:
        for _ in range(2):
            connection.send(pack(actions()))

    with fake(twice) as url, remote(url) as policy:
        link = policy._link
        assert link is not None
        wait(link._connection.recv_messages.frames.qsize)
        with pytest.raises(LostError, match="an answer that nobody asked for"):
            policy.infer(shown())


def test_an_answer_that_comes_too_late_is_not_that_of_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "AGAIN_S", 0.0)
    asked = threading.Event()

    def late(connection: Any, _: Any) -> None:
        asked.wait(20.0)
        connection.send(pack(actions(value=-9.0)))

    with (
        fake(then(says(actions()), late, says(actions(value=3.0)))) as url,
        remote(url, answer_s=0.1) as policy,
    ):
        with pytest.raises(LostError, match="no answer"):
            policy.infer(shown())
        asked.set()
        policy.tend()
        assert policy.infer(shown())[0, 0] == 3.0


def test_where_nobody_listens_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with pytest.raises(LostError, match=rf"ws://127.0.0.1:{port}: nobody listens there\."):
        remote(f"ws://127.0.0.1:{port}")


def test_a_server_of_something_else_is_told() -> None:
    def nothing(connection: Any, _: Any) -> Any:
        return connection.respond(http.HTTPStatus.NOT_FOUND, "Nothing here.\n")

    with (
        fake(says(b""), refusal=nothing) as url,
        pytest.raises(LostError, match=r"no policy server is there .*404"),
    ):
        remote(url)


@pytest.mark.parametrize("greeting", ["hello", b"\xc1", b""])
def test_a_greeting_that_is_none_is_refused(greeting: Any) -> None:
    with fake(says(b""), greeting=greeting) as url, pytest.raises(LostError, match=f"^{url}: "):
        remote(url)


def test_a_server_that_is_not_ours_needs_a_file() -> None:
    with (
        fake(says(actions()), greeting=pack({"reset_pose": [0.0]})) as url,
        pytest.raises(RemoteError, match=f"^{url} is a policy server, but not `dexhil serve`"),
    ):
        load_remote(url)


def test_a_server_of_ours_may_say_more_than_is_known_but_not_something_else() -> None:
    about = {"observations": {"observation.state": 4}, "cameras": [], "action_dim": 3}
    more = {**about, "execute_steps": 2, "prompts": True}
    with fake(says(actions()), greeting=pack({"dexhil": more})) as url:
        assert load_remote(url).execute_steps == 2
    with (
        fake(says(actions()), greeting=pack({"dexhil": about})) as url,
        pytest.raises(RemoteError, match=r"what it says of its policy: execute_steps"),
    ):
        load_remote(url)


def test_a_key_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEXHIL_API_KEY", raising=False)
    with served(api_key="secret") as url:
        with pytest.raises(LostError, match="refuses the key, or wants one; see api_key_env"):
            load_remote(url)
        monkeypatch.setenv("DEXHIL_API_KEY", "secret")
        with remote_of_ours(url) as policy:
            policy.infer(shown())


def test_a_policy_that_was_trained_at_another_rate_is_refused() -> None:
    at_15_hz = config("ws://gpu", rate_hz=15.0)
    with pytest.raises(RemoteError, match=r"for 15 Hz, the rig's policy loop runs at 20 Hz\. Set"):
        RemotePolicy(at_15_hz, FEATURES, rate_hz=20.0)


def test_more_actions_than_there_are_cannot_be_executed() -> None:
    with (
        fake(says(actions())) as url,
        pytest.raises(RemoteError, match="gives 6 actions, fewer than the 7 of execute_steps"),
    ):
        remote(url, execute_steps=7)


def test_a_server_that_ends_while_nobody_asks_is_missed_and_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "AGAIN_S", 0.0)
    with served() as url:
        policy = RemotePolicy(load_remote(url), FEATURES)
        policy.tend()
        policy.infer(shown())
    with policy:
        with pytest.raises(LostError, match=f"^{url}: it closed the connection"):
            policy.tend()
        for _ in range(2):
            with pytest.raises(LostError, match=f"^{url}: nobody listens there"):
                policy.tend()
            with pytest.raises(LostError, match="nobody listens there"):
                policy.infer(shown())
        with served(port=int(url.rpartition(":")[2])):
            policy.tend()
            assert policy.infer(shown()).shape == (HORIZON, 3)


def test_a_server_that_is_gone_is_not_tried_at_every_turn() -> None:
    with served() as url:
        policy = RemotePolicy(load_remote(url), FEATURES)
    for _ in range(3):
        with policy, pytest.raises(LostError, match="closed the connection"):
            policy.tend()


def test_a_server_writes_nothing_on_the_screen_but_words() -> None:
    with (
        fake(says("KeyError: \x1b[31m\x07red\u202e")) as url,
        pytest.raises(LostError, match=r"it says: KeyError: \[31mred\.$"),
    ):
        remote(url)
