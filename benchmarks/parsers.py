"""Every parser of bytes from a wire, on a million damaged frames each.

    python benchmarks/parsers.py [--n FRAMES] [--parsers eb90 ...] [--jobs N] [--seed SEED]

Damaged are: healthy frames with bits flipped, bytes lost, doubled or inserted, frames cut
short and run together, and plain noise. Streams are fed in pieces of any length. A parser
may refuse; it must not raise, must not take long over anything, must keep nothing (its
memory is bounded), and must give no value that its format cannot carry.

refused   share of frames, damaged or not, that led to no value
wrong     values out of range; each is a failure
worst     longest time for one piece of about 64 frames: a hang would show here
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields, is_dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from dexhil.drivers.wire import (
    ability,
    allegro,
    dexhand,
    dynamixel,
    eb90,
    evdev,
    hts,
    keys,
    lucid,
    manus,
    modbus,
    rokoko,
    rtde,
    shot,
    spacemouse,
    xarm,
)
from dexhil.drivers.wire.can import CanFrame

PIECE = 64  # Frames that are fed at once, about.
Feed = Callable[[bytes], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Attributes:
        new: Makes one that takes bytes and gives what it understood.
        healthy: Frames it must understand.
        sane: Whether a value is one that the format can carry.
        stream: Whether frames follow each other without borders.
    """

    new: Callable[[], Feed]
    healthy: Sequence[bytes]
    sane: Callable[[Any], bool]
    stream: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """What one parser did."""

    name: str
    n: int
    understood: int
    wrong: int
    mean_us: float
    worst_ms: float
    crash: str


def each(parse: Callable[[bytes], Any]) -> Callable[[], Feed]:
    """Make a feeding parser of one that takes a whole datagram."""

    def feed(data: bytes) -> Iterable[Any]:
        value = parse(data)
        return () if value is None else (value,)

    return lambda: feed


def framed(parse: Callable[[CanFrame], Any]) -> Callable[[], Feed]:
    """Make a feeding parser of one that takes CAN frames, packed as Linux does."""

    def unpack(data: bytes) -> Any:
        frame = CanFrame.from_bytes(data)
        return None if frame is None else parse(frame)

    return each(unpack)


def numbers(value: Any) -> Iterable[float]:
    """Every number in a value, however deep."""
    if is_dataclass(value):
        for field in fields(value):
            yield from numbers(getattr(value, field.name))
    elif isinstance(value, np.ndarray):
        yield from value.ravel().tolist()
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, bool | str | bytes) or value is None:
        return
    elif isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, Iterable):
        for inner in value:
            yield from numbers(inner)


def within(limit: float, *, lost: bool = False) -> Callable[[Any], bool]:
    """Say whether every number is finite and at most ``limit``; ``lost`` allows any text number."""
    if lost:  # NaN stands for what is missing; drivers turn the absurd into NaN.
        return lambda value: value is not None
    return lambda value: all(math.isfinite(x) and abs(x) <= limit for x in numbers(value))


def rng_vector(n: int, scale: float) -> Any:
    """Some numbers that stay the same."""
    return np.random.default_rng(n).uniform(-scale, scale, n)


def ability_replies() -> list[bytes]:
    """Answers of all three variants."""
    values = {
        "positions": rng_vector(6, 1.0),
        "currents": rng_vector(6, 0.5),
        "velocities": rng_vector(6, 1.0),
        "touch": np.arange(30.0) * 100,
        "stopped": 0,
    }
    return [ability.encode_reply(header, **values) for header in (0x10, 0x11, 0x12)]


def ability_parser() -> Feed:
    """Frames, then what is in them."""
    parser = ability.Parser()
    return lambda data: [
        reply for body in parser.feed(data) if (reply := ability.parse_reply(body)) is not None
    ]


def rtde_parser() -> Feed:
    """Packages, then the values of one recipe."""
    parser, recipe = rtde.Parser(), rtde.Recipe(1, ("DOUBLE", "VECTOR6D", "UINT32"))
    return lambda data: [
        values
        for package in parser.feed(data)
        if (values := recipe.decode(package.payload)) is not None
    ]


def targets() -> dict[str, Target]:
    """Every parser of ``drivers/wire``."""
    eb = [
        eb90.Frame(1, eb90.READ, 1546, bytes(range(12))).encode(eb90.ANSWER),
        eb90.Frame(1, eb90.WRITE, 1486, b"\x01").encode(eb90.ANSWER),
    ]
    dxl = [
        dynamixel.encode_status(3, 0, bytes(range(10))),
        dynamixel.encode(dynamixel.Packet(1, 3, b"\x74\x00\xff\xff\xfd\x00")),
    ]
    can = [bytes(allegro.positions(finger, (0.1, 0.2, 0.3, 0.4))) for finger in range(4)]
    dex = [
        bytes(dexhand.feedback(dexhand.Feedback(board=2, angles=(0.5, 0.6), currents=(0.1, 0.2)))),
        bytes(dexhand.error(dexhand.BoardError(3, 0x21))),
    ]
    wrist = hts.HtsLine("wrist", "right", tuple(rng_vector(7, 0.5)), 7, 1.5)
    landmarks = hts.HtsLine("landmarks", "right", tuple(rng_vector(63, 0.1)))
    hand = rokoko.RokokoHand(rng_vector(63, 0.2).reshape(21, 3), rng_vector(4, 0.5))
    scene = rokoko.RokokoFrame(2.5, (rokoko.RokokoActor("a", {"right": hand}),))
    skeleton = manus.Skeleton("1a2b3c4d", rng_vector(175, 0.2).reshape(25, 7))
    angles = manus.Angles(rng_vector(20, 40).reshape(5, 4), rng_vector(20, 40).reshape(5, 4))
    line = lucid.LucidLine((10, 20, 30, 40, 50), (9, 8, 7, 6, 5), "A")
    press = evdev.encode(evdev.InputEvent(evdev.EV_KEY, 30, 1, 12.5))
    report = xarm.Report(state=1, mode=1, positions=rng_vector(7, 1), torques=rng_vector(7, 5))
    recipe = rtde.Recipe(1, ("DOUBLE", "VECTOR6D", "UINT32"))
    picture = shot.Shot(
        1, 1000.0, 30, np.full((4, 6, 3), 7, np.uint8), np.full((4, 6), 900, np.uint16)
    )
    return {
        "ability": Target(ability_parser, ability_replies(), within(4096.0)),
        "allegro": Target(framed(allegro.parse), can, within(65536.0), stream=False),
        "dexhand": Target(framed(dexhand.parse), dex, within(2**32), stream=False),
        "dynamixel": Target(lambda: dynamixel.PacketParser().feed, dxl, within(255)),
        "eb90": Target(lambda: eb90.Parser(eb90.ANSWER).feed, eb, within(65535)),
        "evdev": Target(lambda: evdev.EventParser().feed, [press], within(2**63)),
        "hts": Target(
            lambda: hts.HtsReader(whole_messages=False).feed,
            [f"{hts.format_line(each)}\n".encode() for each in (wrist, landmarks)],
            within(0, lost=True),
        ),
        "keys": Target(
            lambda: keys.KeyParser().feed,
            [b"t", b"\x1b[A", b"\x1bOP", b" "],
            lambda key: isinstance(key, str) and 0 < len(key) < 12,
        ),
        "lucid": Target(
            lambda: lucid.LucidReader("alpha").feed,
            [lucid.format_alpha(line, 4095)],
            within(99_999),
        ),
        "manus": Target(
            each(manus.parse),
            [manus.format_skeletons(skeleton), manus.format_angles(angles)],
            within(0, lost=True),
            stream=False,
        ),
        "modbus": Target(
            lambda: modbus.Parser().feed,
            [modbus.Message(1, 1, 3, b"\x04\x00\x01\x00\x02").encode()],
            within(65535),
        ),
        "rokoko": Target(
            each(rokoko.parse),
            [rokoko.format_frame(scene), rokoko.format_frame(scene, compressed=False)],
            within(0, lost=True),
            stream=False,
        ),
        "rtde": Target(
            rtde_parser,
            [recipe.encode((12.5, tuple(rng_vector(6, 1)), 3))],
            lambda values: len(values) == 3,  # Any 64 bits are a double; the driver checks them.
        ),
        "shot": Target(lambda: shot.ShotReader().feed, [picture.encode()], within(1e12)),
        "spacemouse": Target(
            each(spacemouse.parse),
            [spacemouse.encode_buttons([0, 1]), spacemouse.encode_translation((0.1, -0.2, 0.3))],
            within(64),
            stream=False,
        ),
        "xarm": Target(
            lambda: xarm.ReportStream().feed, [xarm.encode_report(report)], within(1e39)
        ),
    }


def damaged(frame: bytes, rng: random.Random) -> bytes:
    """Return what may become of ``frame``; one in six stays whole."""
    kind = rng.randrange(6)
    if kind == 0 or not frame:
        return frame
    changed = bytearray(frame)
    at = rng.randrange(len(changed))
    if kind == 1:
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del changed[at:]
    elif kind == 3:
        del changed[at : at + rng.randint(1, 4)]
    elif kind == 4:
        changed[at:at] = changed[at : at + rng.randint(1, 8)] or rng.randbytes(3)
    else:
        changed[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 24))
    return bytes(changed)


def examine(name: str, n: int, seed: int) -> Result:
    """Feed one parser ``n`` frames."""
    target, rng = targets()[name], random.Random(f"{name}{seed}")
    feed = target.new()
    if not all(list(target.new()(frame)) for frame in target.healthy):
        return Result(name, 0, 0, 0, 0.0, 0.0, "it does not understand a healthy frame")
    understood = wrong = 0
    spent_s = worst_s = 0.0
    fed = 0
    try:
        while fed < n:
            frames = [damaged(rng.choice(target.healthy), rng) for _ in range(PIECE)]
            if rng.random() < 0.1:
                frames[rng.randrange(PIECE)] = rng.randbytes(rng.randint(0, 200))
            pieces = [b"".join(frames)] if target.stream else frames
            start_s = time.perf_counter()
            values = [value for piece in pieces for value in feed(piece)]
            took_s = time.perf_counter() - start_s
            spent_s, worst_s = spent_s + took_s, max(worst_s, took_s)
            understood += len(values)
            wrong += sum(not target.sane(value) for value in values)
            fed += PIECE
    except Exception as error:  # noqa: BLE001  # Any exception is the finding.
        return Result(name, fed, understood, wrong, 0.0, worst_s * 1e3, f"{error!r}")
    return Result(name, fed, understood, wrong, spent_s / fed * 1e6, worst_s * 1e3, "")


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000, help="frames per parser")
    parser.add_argument("--parsers", nargs="+", default=sorted(targets()), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="parsers at once")
    parser.add_argument("--seed", type=int, default=0, help="of what is damaged, and how")
    options = parser.parse_args(arguments)
    print(f"{'parser':12}{'frames':>12}{'refused':>10}{'wrong':>7}{'mean us':>10}{'worst ms':>10}")
    bad = 0
    with ExitStack() as stack:
        run: Callable[..., Iterable[Result]] = map
        if options.jobs > 1:
            pool = ProcessPoolExecutor(options.jobs, get_context("spawn"))
            run = stack.enter_context(pool).map
        n_parsers = len(options.parsers)
        given = (options.parsers, [options.n] * n_parsers, [options.seed] * n_parsers)
        for result in run(examine, *given):
            refused = max(0.0, 1 - result.understood / max(1, result.n))
            print(
                f"{result.name:12}{result.n:12,}{refused:10.1%}{result.wrong:7}"
                f"{result.mean_us:10.1f}{result.worst_ms:10.1f}  {result.crash}"
            )
            bad += bool(result.crash) or result.wrong > 0
    print(f"{len(options.parsers)} parsers, {bad} failed")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
