"""The device that every test here streams to."""

from collections.abc import Iterator

import pytest

from tests.drivers.streamed.memory import Memory


@pytest.fixture
def hand() -> Iterator[Memory]:
    hand = Memory()
    yield hand
    hand.disconnect()
