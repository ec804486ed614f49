"""The LucidGloves driver against its emulator: boards, encodings, cut and damaged lines."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConfigError, ConnectError
from dexhil.drivers.glove import Glove
from dexhil.drivers.glove.lucid import LucidGlove, LucidGloveConfig
from dexhil.drivers.testing import Emulated, GloveConformance
from tests.drivers.emulated.helpers import until_fault

EMULATOR = "lucid"
Make = Callable[..., Glove]


class TestLucid(Emulated, GloveConformance):
    emulator = EMULATOR


class TestLeftLucid(Emulated, GloveConformance):
    emulator = EMULATOR
    options: ClassVar[dict[str, Any]] = {"side": "left"}


def bends(keypoints: np.ndarray) -> np.ndarray:
    """Angle between the first and the last bone of index to little finger [rad]."""
    fingers = keypoints[5:].reshape(4, 4, 3)
    first, last = fingers[:, 1] - fingers[:, 0], fingers[:, 3] - fingers[:, 2]
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(last, axis=1)
    return np.arccos(np.clip((first * last).sum(axis=1) / lengths, -1.0, 1.0))


def decoded(*lines: bytes, **options: object) -> list[np.ndarray]:
    decoder = LucidGlove(LucidGloveConfig(**options), name="x").new_decoder()  # type: ignore[arg-type]
    return [each.keypoints for line in lines for each in decoder.feed(line + b"\n")]


@pytest.mark.parametrize(
    ("build_of", "options"),
    [("splay", {}), ("legacy", {"encoding": "legacy"}), ("avr", {"board": "avr"})],
)
def test_every_build_of_the_firmware_gives_the_same_hand(
    make: Make, emulator: EmulatorProcess, build_of: str, options: dict[str, object]
) -> None:
    glove = make(**options)
    emulator.tell("build", build_of)
    with glove:
        keypoints = glove.observe().keypoints
    # The wearer is between 0.10 and 0.45 of a fist, whose last two joints bend by 2.5 rad.
    assert (bends(keypoints) > 0.2).all()
    assert (bends(keypoints) < 1.2).all()


def test_more_bend_is_more_bent() -> None:
    hands = decoded(*[f"A{n}B{n}C{n}D{n}E{n}".encode() for n in range(0, 4096, 256)])
    turned = np.array([bends(hand) for hand in hands])
    assert (np.diff(turned, axis=0) > 0).all()


def test_splay_moves_the_fingers_apart() -> None:
    plain = b"A0B0C0D0E0"
    apart = plain + b"(AB)2048(BB)4000(CB)2048(DB)2048(EB)100"
    (rest,) = decoded(plain, plain)
    (spread,) = decoded(apart, apart)
    gap = [np.linalg.norm(hand[8] - hand[20]) for hand in (rest, spread)]
    assert gap[1] > gap[0] + 0.02


def test_a_line_whose_splay_was_cut_keeps_the_last_one() -> None:
    apart = b"A0B0C0D0E0(AB)2048(BB)4000(CB)2048(DB)2048(EB)100"
    whole, cut = decoded(apart, apart, apart[:40])
    assert np.array_equal(whole, cut)


def test_a_leap_is_believed_only_once_it_is_confirmed() -> None:
    still, leap = b"A500B500C500D500E500", b"A500B500C500D5E500"
    far = b"A500B4000C500D500E500"
    assert len(decoded(still, still, still)) == 2
    assert len(decoded(still, leap, leap)) == 2  # A small one at once.
    assert len(decoded(still, far)) == 0
    assert len(decoded(still, far, far)) == 1


def test_a_count_beyond_the_converter_is_a_lost_finger_only() -> None:
    (hand,) = decoded(b"A0B0C9999D0E0", b"A0B0C9999D0E0")
    assert np.isnan(hand[10:13]).all()
    assert np.isfinite(np.delete(hand, [10, 11, 12], axis=0)).all()


def test_what_the_range_leaves_out_is_held_at_its_ends() -> None:
    options: ClassVar[dict[str, Any]] = {"straight": (1000,) * 5, "bent": (2000,) * 5}
    low, lower = (
        decoded(line, line, **options)[0] for line in (b"A1000B1000C1000D1000E1000", b"A0B0C0D0E0")
    )
    assert np.array_equal(low, lower)


def test_a_range_turned_around_is_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"bent is .* counts, must be above straight"):
        make(straight=[0, 0, 0, 0, 5000])


def test_the_wrong_encoding_is_named(make: Make) -> None:
    glove = make(encoding="legacy")
    with pytest.raises(ConnectError, match="nothing but what is not LucidGloves' legacy encoding"):
        glove.connect(timeout_s=0.5)


@pytest.mark.parametrize("fault", ["corrupt", "partial", "drop"])
def test_a_bad_cable_never_throws_the_hand_about(
    make: Make, emulator: EmulatorProcess, fault: str
) -> None:
    with make() as glove:
        emulator.tell(fault, 0.3)
        last, moved = glove.observe().keypoints, 0
        for _ in range(100):
            glove.clock.sleep(0.01)
            keypoints = glove.observe().keypoints
            assert np.isnan(keypoints).any() or np.abs(keypoints - last).max() < 0.08
            moved += not np.array_equal(keypoints, last)
            last = np.where(np.isnan(keypoints), last, keypoints)
    assert moved > 10


def test_a_pulled_cable_is_a_fault_at_once(make: Make, emulator: EmulatorProcess) -> None:
    with make(silence_s=100.0) as glove:
        emulator.faults.unplug()
        until_fault(glove.observe, match=r"serial port .* is gone")
