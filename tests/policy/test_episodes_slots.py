"""Frames pass from one process to another through memory, unchanged."""

import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dexhil.policy.episodes import Features
from dexhil.policy.episodes.slots import Slots, slot_size
from dexhil.policy.memory import make_memory

N_SLOTS = 3


def pair(features: Features) -> tuple[Slots, Slots]:
    """The same memory, mapped twice as in two processes."""
    memory = make_memory(N_SLOTS * slot_size(features))
    try:
        return Slots(features, N_SLOTS, memory), Slots(features, N_SLOTS, memory)
    finally:
        os.close(memory)


@given(
    joints=st.integers(1, 5),
    cameras=st.dictionaries(
        st.sampled_from(["wrist", "scene", "side"]),
        st.tuples(st.integers(1, 4), st.integers(1, 4)).map(lambda s: (2 * s[0], 2 * s[1])),
    ),
    order=st.lists(st.integers(0, N_SLOTS - 1), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_slot_holds_what_was_last_written_to_it(
    joints: int, cameras: dict[str, tuple[int, int]], order: list[int], seed: int
) -> None:
    features = Features.for_rig(
        arm_joints=[str(i) for i in range(joints)], hand_joints=["h"], cameras=cameras
    )
    writing, reading = pair(features)
    random, held = np.random.default_rng(seed), {}
    for slot in order:
        record = np.frombuffer(
            random.bytes(features.frame_dtype.itemsize), dtype=features.frame_dtype
        )[0]
        images = {
            name: random.integers(0, 256, (*size, 3), dtype=np.uint8)
            for name, size in cameras.items()
        }
        writing.write(slot, np.array(record), images)
        held[slot] = (record.tobytes(), images)
    for slot, (record_bytes, images) in held.items():
        record, seen = reading.read(slot)
        assert record.tobytes() == record_bytes
        assert seen.keys() == images.keys()
        for name, image in images.items():
            np.testing.assert_array_equal(seen[name], image)


def test_a_row_that_was_read_stays_when_its_slot_is_used_again(features: Features) -> None:
    writing, reading = pair(features)
    record = np.zeros((), features.frame_dtype)
    image = {"scene": np.zeros((48, 64, 3), np.uint8)}
    writing.write(0, record, image)
    read, _ = reading.read(0)
    record["t_mono"] = 1.0
    writing.write(0, record, image)
    assert read["t_mono"] == 0.0
