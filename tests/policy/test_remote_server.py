"""A policy that is served: what clients are told, whatever they send."""

import asyncio
import logging
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from dexhil.policy.errors import RemoteError
from dexhil.policy.remote.packing import pack, unpack
from dexhil.policy.remote.server import PolicyServer
from tests.policy.remote_servers import ABOUT, FRONT, HORIZON, Parrot, served, shown


@pytest.fixture(autouse=True)
def _no_noise() -> None:
    logging.getLogger("dexhil").setLevel(logging.CRITICAL)


@pytest.fixture
def url() -> Iterator[str]:
    with served() as url:
        yield url


@contextmanager
def talking_to(url: str) -> Iterator[ClientConnection]:
    with connect(url, compression=None, max_size=None, close_timeout=0.5) as client:
        assert "dexhil" in unpack(client.recv(5.0))  # type: ignore[arg-type]
        yield client


def ask(client: ClientConnection, request: Any) -> Any:
    client.send(pack(request))
    answer = client.recv(5.0)
    return answer if isinstance(answer, str) else unpack(answer)


def test_a_client_is_told_what_the_policy_wants_then_how_long_it_thought(url: str) -> None:
    with connect(url) as client:
        about = unpack(client.recv(5.0))["dexhil"]  # type: ignore[arg-type]
        assert about["observations"]["observation.state"] == 4
        assert (about["cameras"], about["action_dim"]) == ([FRONT], 3)
        first, second = ask(client, shown()), ask(client, shown())
    assert first["actions"].shape == (HORIZON, 3)
    assert list(first["server_timing"]) == ["infer_ms"]
    assert second["server_timing"]["prev_total_ms"] >= first["server_timing"]["infer_ms"]


def test_each_client_begins_anew_and_says_when_it_does_again(url: str) -> None:
    with talking_to(url) as client:
        before = ask(client, shown())["actions"][0, 2]
        assert ask(client, shown())["actions"][0, 2] == before
        assert ask(client, {**shown(), "dexhil.reset": True})["actions"][0, 2] == before + 1
    with talking_to(url) as client:
        assert ask(client, shown())["actions"][0, 2] == before + 2


class Busy(Parrot):
    """Notes whether it was ever asked while it thought."""

    thinking = interrupted = False

    def infer(self, observation: Any) -> Any:
        self.interrupted, self.thinking = self.interrupted or self.thinking, True
        time.sleep(0.05)
        self.thinking = False
        return super().infer(observation)


def test_two_clients_are_answered_in_turn() -> None:
    policy = Busy()
    with served(policy) as url, talking_to(url) as one, talking_to(url) as other:
        for client, light in ((one, 1), (other, 2)):
            client.send(pack(shown(light=light)))
        for client, light in ((one, 1), (other, 2)):
            seen = unpack(client.recv(5.0))["actions"][0, 1]  # type: ignore[arg-type]
            assert seen == light * 48 * 64 * 3
    assert not policy.interrupted


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"observation.state": None}, "needs an array 'observation.state'"),
        ({"observation.state": [0.0] * 4}, "needs an array"),
        ({"observation.state": np.zeros(5)}, r"has shape \(5,\) of float64, the policy takes \(4,"),
        ({"observation.state": np.full(4, np.nan)}, "'observation.state' is not finite"),
        ({FRONT: np.zeros((8, 8, 3))}, r"of float64, the policy takes \(height, width, 3\) of u"),
        ({FRONT: np.zeros((3, 8, 8), np.uint8)}, r"has shape \(3, 8, 8\)"),
        ({FRONT: np.zeros((8, 8), np.uint8)}, r"has shape \(8, 8\)"),
        ({FRONT: np.zeros((0, 8, 3), np.uint8)}, r"has shape \(0, 8, 3\)"),
    ],
)
def test_a_request_that_the_policy_cannot_answer_is_refused_with_the_reason(
    url: str, changes: dict[str, Any], reason: str
) -> None:
    with talking_to(url) as client:
        said = ask(client, {**shown(), **changes})
        assert isinstance(said, str)
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(said)
        with pytest.raises(ConnectionClosed):
            client.recv(5.0)
    with talking_to(url) as client:
        assert "actions" in ask(client, shown())


@pytest.mark.parametrize("frame", ["text", b"", b"\xc1", pack([1, 2]), pack(None), pack({})])
def test_a_frame_that_is_no_request_is_refused(url: str, frame: Any) -> None:
    with talking_to(url) as client:
        client.send(frame)
        assert isinstance(client.recv(5.0), str)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_frame_ends_the_server(url: str, data: st.DataObject) -> None:
    whole = pack({"observation.state": np.zeros(4), "dexhil.reset": True})
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + 1 :]
    with talking_to(url) as client:
        client.send(damaged)
        assert isinstance(client.recv(5.0), str)


def test_what_a_policy_raises_reaches_the_client_and_ends_nothing() -> None:
    policy = Parrot(says="out of memory")
    with served(policy) as url:
        with talking_to(url) as client:
            said = ask(client, shown())
            assert said.startswith("Traceback")
            assert said.splitlines()[-1] == "RuntimeError: out of memory"
        policy.says = None
        with talking_to(url) as client:
            assert "actions" in ask(client, shown())


def test_its_health_is_asked_for_without_a_key_and_its_policy_is_not() -> None:
    with served(api_key="secret") as url:
        health = urllib.request.urlopen(f"http{url[2:]}/healthz", timeout=5.0)  # noqa: S310
        assert (health.status, health.read()) == (200, b"OK\n")
        for key in ({}, {"Authorization": "Api-Key guess"}, {"Authorization": "secret"}):
            with pytest.raises(InvalidStatus, match="401"), connect(url, additional_headers=key):
                pass
        right = {"Authorization": "Api-Key secret"}
        with connect(url, additional_headers=right) as client:
            assert client.recv(5.0)


def test_an_address_that_is_taken_is_named(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.raises(RemoteError, match=rf"127\.0\.0\.1:{port}: cannot listen there"):
        asyncio.run(PolicyServer(Parrot(), ABOUT, port=port).run())
