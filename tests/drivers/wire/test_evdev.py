"""The kernel's input events."""

import os
import struct
from dataclasses import replace

import pytest
from evdev import _input, ecodes
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire.evdev import (
    EV_KEY,
    PEDAL_CODES,
    PRESSED,
    RELEASED,
    REPORT,
    SIZE,
    EventParser,
    InputEvent,
    encode,
)

EVENTS = st.builds(
    InputEvent,
    type=st.just(EV_KEY),
    code=st.integers(0, ecodes.KEY_MAX),
    value=st.integers(0, 2),
    time_s=st.integers(0, 2**31).map(float),
)


def test_an_event_is_laid_out_as_the_kernel_does() -> None:
    event = InputEvent(EV_KEY, ecodes.KEY_A, PRESSED, 12.5)
    assert encode(event) == struct.pack("llHHi", 12, 500_000, 1, 30, 1)
    assert struct.calcsize("l") * 2 + 8 == SIZE


@given(EVENTS)
def test_the_evdev_library_reads_what_is_written(event: InputEvent) -> None:
    near, far = os.pipe()
    try:
        os.write(far, encode(event))
        seconds, microseconds, kind, code, value = _input.device_read(near)
    finally:
        os.close(near)
        os.close(far)
    assert (seconds + microseconds / 1e6, kind, code, value) == (
        event.time_s,
        event.type,
        event.code,
        event.value,
    )


def test_the_codes_of_the_pedals_are_the_kernels() -> None:
    assert {key: ecodes.ecodes[key] for key in PEDAL_CODES} == PEDAL_CODES


@given(st.lists(EVENTS), st.integers(0, 1000))
def test_events_come_back_however_they_are_cut(events: list[InputEvent], cut: int) -> None:
    data = b"".join(map(encode, events))
    parser = EventParser()
    assert parser.feed(data[:cut]) + parser.feed(data[cut:]) == events


@given(st.lists(st.binary(max_size=100)))
def test_any_bytes_at_all_give_sensible_events_only(chunks: list[bytes]) -> None:
    parser = EventParser()
    for chunk in chunks:
        for event in parser.feed(chunk):
            assert event.time_s >= 0.0
            assert 0 <= event.code <= ecodes.KEY_MAX
            assert event.type != EV_KEY or event.value in {0, 1, 2}


@pytest.mark.parametrize("n", [1, 5, SIZE - 1, SIZE, SIZE + 7])
def test_it_finds_the_events_again_after_garbage(n: int) -> None:
    press = InputEvent(EV_KEY, ecodes.KEY_A, PRESSED, 1000.0)
    report = replace(REPORT, time_s=1000.0)
    events = [press, report, InputEvent(EV_KEY, ecodes.KEY_A, RELEASED, 1001.0), report] * 3
    found = EventParser().feed(b"\xff" * n + b"".join(map(encode, events)))
    assert found[-len(events) + 2 :] == events[2:]
