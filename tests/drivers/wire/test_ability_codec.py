"""The Ability Hand's frames: published examples, and whatever else may come down a line."""

from math import radians

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.drivers.arrays import Vector
from dexhil.drivers.wire import ability
from dexhil.drivers.wire.ability import Parser

THIRTY_DEGREES = bytes.fromhex("7E 50 10 99 19 99 19 99 19 99 19 99 19 67 E6 D9 7E")

angles = arrays(np.float64, 6, elements=st.floats(-2.6, 2.6))
currents = arrays(np.float64, 6, elements=st.floats(-50.0, 50.0))
velocities = arrays(np.float64, 6, elements=st.floats(-12.0, 12.0))
touches = arrays(np.float64, 30, elements=st.integers(0, 4095).map(float))
variants = st.sampled_from(ability.VARIANTS)


def test_a_request_is_the_published_one() -> None:
    assert ability.position_request(np.radians([30.0] * 5 + [-30.0]), 0) == THIRTY_DEGREES


def test_the_published_request_says_thirty_degrees() -> None:
    (body,) = Parser().feed(THIRTY_DEGREES)
    assert body[0] == ability.ADDRESS
    assert ability.frame(body) == THIRTY_DEGREES
    positions = ability.requested_positions(body)
    assert positions is not None
    np.testing.assert_allclose(np.degrees(positions), [30.0] * 5 + [-30.0], atol=0.005)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_frame_survives_stuffing_and_being_cut_anywhere(body: bytes, data: st.DataObject) -> None:
    encoded = ability.frame(body)
    assert encoded[0] == encoded[-1] == 0x7E
    assert 0x7E not in encoded[1:-1]
    cut = data.draw(st.integers(0, len(encoded)))
    parser = Parser()
    assert parser.feed(encoded[:cut]) + parser.feed(encoded[cut:]) == [body]


@given(st.binary(max_size=60), st.binary(min_size=1, max_size=60))
def test_a_frame_is_found_after_garbage(garbage: bytes, body: bytes) -> None:
    assert Parser().feed(garbage + ability.frame(body))[-1] == body


@given(angles, variants, st.integers(0, 255))
def test_positions_survive_the_wire(positions: Vector, variant: int, address: int) -> None:
    (body,) = Parser().feed(ability.position_request(positions, variant, address))
    assert body[:2] == bytes((address, ability.POSITION | variant))
    received = ability.requested_positions(body)
    assert received is not None
    np.testing.assert_allclose(received, positions, atol=radians(150 / 32767))


@given(
    positions=angles,
    amperes=currents,
    speeds=velocities,
    touch=touches,
    variant=variants,
    stopped=st.integers(0, 63),
)
def test_an_answer_survives_the_wire(
    *,
    positions: Vector,
    amperes: Vector,
    speeds: Vector,
    touch: Vector,
    variant: int,
    stopped: int,
) -> None:
    (body,) = Parser().feed(
        ability.encode_reply(
            ability.READ_ONLY | variant,
            positions=positions,
            currents=amperes,
            velocities=speeds,
            touch=touch,
            stopped=stopped,
        )
    )
    assert len(body) == (38 if variant == ability.CURRENTS_AND_VELOCITIES else 71)
    reply = ability.parse_reply(body)
    assert reply is not None
    assert (reply.variant, reply.stopped) == (variant, stopped)
    np.testing.assert_allclose(reply.positions, positions, atol=radians(150 / 32767))
    for field, sent, step in (
        ("currents", amperes, 1 / 620),
        ("velocities", speeds, 0.25 / ability.GEARS),
        ("touch", touch, 0.0),
    ):
        received = getattr(reply, field)
        if received is not None:
            assert (abs(received - sent) <= step).all(), field
    has_touch = variant != ability.CURRENTS_AND_VELOCITIES
    assert (reply.touch is not None) == has_touch
    assert (reply.currents is None) == (variant == ability.VELOCITIES_AND_TOUCH)
    assert (reply.velocities is None) == (variant == ability.CURRENTS_AND_TOUCH)


@given(st.binary(max_size=80))
def test_any_body_at_all_is_an_answer_or_none(body: bytes) -> None:
    reply = ability.parse_reply(body)
    ability.requested_positions(body)
    if reply is not None:
        assert (abs(reply.positions) <= radians(151.0)).all()


@given(st.lists(st.binary(max_size=64), max_size=40))
def test_any_bytes_at_all_are_taken_and_little_is_kept(chunks: list[bytes]) -> None:
    parser = Parser()
    for chunk in chunks:
        for body in parser.feed(chunk):
            ability.parse_reply(body)
    assert len(parser._frame) <= 128


@given(st.data())
def test_a_damaged_frame_is_never_a_wrong_answer(data: st.DataObject) -> None:
    encoded = bytearray(
        ability.encode_reply(
            ability.READ_ONLY,
            positions=np.full(6, 0.5),
            currents=np.zeros(6),
            velocities=np.zeros(6),
            touch=np.zeros(30),
            stopped=0,
        )
    )
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= 1 << data.draw(st.integers(0, 7))
    for body in Parser().feed(bytes(encoded)):
        assert ability.parse_reply(body) is None


def test_ones_own_echo_is_no_answer() -> None:
    for request in (ability.read_request(2), ability.position_request(np.zeros(6), 2)):
        (body,) = Parser().feed(request)
        assert ability.parse_reply(body) is None


@pytest.mark.parametrize(
    ("reading", "newton"),
    # Worked out by hand: 121591 / (33000 / (D * 3.3 / 4096) + 10000) + 0.878894.
    [(0, 0.0), (1, 0.881862), (1000, 3.2649), (4095, 6.958)],
)
def test_touch_follows_the_makers_fit(reading: int, newton: float) -> None:
    forces = ability.touch_forces(np.full(30, float(reading)))
    np.testing.assert_allclose(forces, newton, atol=1e-3)
