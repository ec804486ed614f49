"""What every real glove here does: listen to a wire, understand, keep the newest hand."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol, final

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.glove.glove import Glove, GloveObservation, GloveSpec
from dexhil.drivers.listener import Decoder, Listener
from dexhil.drivers.wire import Wire

REACH: Final = 10.0
"""A hand further than this from its origin is a damaged number, not a hand [m]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HandSample:
    """One hand as a glove sent it. Attributes as in ``GloveObservation``, not stamped yet."""

    keypoints: Matrix
    device_stamp_s: float | None = None
    wrist_position: Vector | None = None
    wrist_orientation: Vector | None = None

    def observation(self, stamp_s: float) -> GloveObservation:
        """Return it as taken at ``stamp_s``, with NaN for what cannot be."""
        return GloveObservation(
            stamp_s=stamp_s,
            keypoints=within_reach(self.keypoints),
            device_stamp_s=self.device_stamp_s,
            wrist_position=None
            if self.wrist_position is None
            else within_reach(self.wrist_position),
            wrist_orientation=None
            if self.wrist_orientation is None
            else unit_quaternion(self.wrist_orientation),
        )


HandDecoder = Decoder[HandSample]


class ListeningGloveConfig(Protocol):
    """What the configuration of every such glove has."""

    @property
    def side(self) -> Literal["left", "right"]: ...
    @property
    def rate_hz(self) -> float: ...
    @property
    def silence_s(self) -> float: ...
    @property
    def capture(self) -> Path | None: ...


class ListeningGlove(Glove):
    """A glove that streams without being asked.

    A driver says where to listen (``_new_wire``) and how to understand (``new_decoder``).

    Args:
        config: How to build it.
        model: Maker and model.
        name: In the rig file.
        clock: It stamps with; the host's when ``None``.
    """

    driver: ClassVar[str]
    """Its own name in the registry, which a capture names."""

    def __init__(
        self, config: ListeningGloveConfig, *, model: str, name: str, clock: Clock | None = None
    ) -> None:
        super().__init__(name=name, clock=clock)
        self._spec = GloveSpec(model=model, side=config.side, rate_hz=config.rate_hz)
        self._silence_s = config.silence_s
        self._capture = config.capture
        self._listener: Listener[HandSample] | None = None

    @property
    def spec(self) -> GloveSpec:
        return self._spec

    @abstractmethod
    def new_decoder(self) -> HandDecoder:
        """Return what understands a stream from its beginning."""

    @abstractmethod
    def _new_wire(self, capture: Path | None, about: Mapping[str, Any]) -> Wire:
        """Return where the glove talks, unopened."""

    @abstractmethod
    def _options(self) -> dict[str, Any]:
        """Return the configuration as a rig file's table."""

    @final
    def _open(self, timeout_s: float) -> None:
        about = {"driver": self.driver, "options": self._options()}
        self._listener = Listener(
            self._new_wire(self._capture, about),
            self.new_decoder(),
            self.clock,
            silence_s=self._silence_s,
            name=f"listening for {self}",
        )
        self._listener.open(timeout_s)

    @final
    def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    @final
    def _read(self) -> GloveObservation:
        assert self._listener is not None  # noqa: S101  # ``_open`` made it.
        stamp_s, sample = self._listener.newest()
        return sample.observation(stamp_s)

    @final
    def _warnings(self) -> tuple[str, ...]:
        return () if self._listener is None else self._listener.warnings()


def table(config: Any) -> dict[str, Any]:
    """Return a configuration as a rig file's table, without where to capture to."""
    return {
        field.name: value
        for field in fields(config)
        if field.name != "capture" and (value := getattr(config, field.name)) is not None
    }


def check_stream(rate_hz: float, silence_s: float) -> None:
    """Refuse what cannot be.

    Raises:
        ValueError: With the unit.
    """
    if not rate_hz > 0:
        raise ValueError(f"rate_hz is {rate_hz:g} Hz, must be above 0")
    if not silence_s > 0:
        raise ValueError(f"silence_s is {silence_s:g} s, must be above 0")


def within_reach(points: Matrix) -> Matrix:
    """Return points, NaN where one is not finite or further than any hand. Shape (..., 3)."""
    # Written so that NaN is not within reach.
    near = (np.abs(points) <= REACH).all(axis=-1, keepdims=True)
    return np.where(near, points, np.nan)


def unit_quaternion(wxyz: Vector) -> Vector:
    """Return a quaternion of length 1, or NaN if it was never meant to be one. Shape (4,)."""
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(wxyz))
    # Three decimals on the wire cost a thousandth of the length.
    return wxyz / length if 0.9 < length < 1.1 else np.full(4, np.nan)
