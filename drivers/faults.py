"""What can go wrong with a device, on request.

Every simulated device owns a ``Faults`` called ``faults`` and passes each sample
through it, so that one test or one experiment can hurt any kind of device alike:

    hand.faults.freeze()
    glove.faults.drop(0.2)
"""

from collections import deque
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from dexhil.drivers.device import Stamped

ObservationT = TypeVar("ObservationT", bound=Stamped)


class Faults(Generic[ObservationT]):
    """Knobs between a healthy simulated device and its reader.

    Knobs add up and stay until ``clear``. The same seed and the same calls give
    the same samples.

    Args:
        fields: Names of the numeric arrays in the observation that noise and NaN act on.
        seed: Of the generator behind ``drop`` and ``noise``.
    """

    def __init__(self, *fields: str, seed: int = 0) -> None:
        self._fields = fields
        self._rng = np.random.default_rng(seed)
        self._last: ObservationT | None = None
        self._history: deque[ObservationT] = deque()
        self.clear()

    # -- Knobs ---------------------------------------------------------------

    def clear(self) -> None:
        """Mend everything, the cable included. A latched fault still needs a reconnect."""
        self._unplugged = self._frozen = self._repeating = self._nan = False
        self._drop_probability = self._delay_s = self._noise_std = self._rewind_s = 0.0
        self._failure = ""
        self._history.clear()

    def freeze(self) -> None:
        """Answer with the last sample and its old stamp, as a hung device does."""
        self._frozen = True

    def repeat(self) -> None:
        """Answer with fresh stamps on bit-identical values, as a hung sensor behind a live link."""
        self._repeating = True

    def drop(self, probability: float) -> None:
        """Lose each sample with ``probability``; the reader gets the one before it."""
        self._drop_probability = probability

    def delay(self, duration_s: float) -> None:
        """Answer with the newest sample that is ``duration_s`` older than the present one."""
        self._delay_s = duration_s

    def noise(self, std: float) -> None:
        """Add Gaussian noise of ``std``, in the unit of each array."""
        self._noise_std = std

    def nan(self) -> None:
        """Replace every value by NaN. Integer arrays, which have none, stay."""
        self._nan = True

    def unplug(self) -> None:
        """Pull the cable: reading and writing raise, as a vendor's library would."""
        self._unplugged = True

    def fail(self, reason: str) -> None:
        """Report a fault of its own, e.g. a protective stop: reading and writing raise."""
        self._failure = reason

    def rewind(self, duration_s: float) -> None:
        """Turn its clock back, or forward if negative: every stamp from now on says so [s]."""
        self._rewind_s = duration_s

    # -- What a simulated device calls ---------------------------------------

    def require_link(self) -> None:
        """Stand at the head of whatever talks to the device without reading: enable, write.

        Raises:
            ConnectionError: The cable is pulled.
            RuntimeError: The device reports a fault of its own.
        """
        if self._unplugged:
            raise ConnectionError("the cable is unplugged")
        if self._failure:
            raise RuntimeError(self._failure)

    def apply(self, observation: ObservationT) -> ObservationT:
        """Return what the reader gets instead of ``observation``.

        Raises:
            ConnectionError: The cable is pulled.
            RuntimeError: The device reports a fault of its own.
        """
        self.require_link()
        if self._rewind_s != 0.0:
            stamp_s = observation.stamp_s - self._rewind_s
            observation = replace(observation, stamp_s=stamp_s)  # type: ignore[type-var]
        last = self._last
        if last is not None and (self._frozen or self._dropped()):
            return last
        if last is not None and self._repeating:
            self._last = replace(last, stamp_s=observation.stamp_s)  # type: ignore[type-var]
        else:
            self._last = self._disturbed(self._delayed(observation))
        return self._last

    def _dropped(self) -> bool:
        return self._drop_probability > 0 and self._rng.random() < self._drop_probability

    def _delayed(self, observation: ObservationT) -> ObservationT:
        if self._delay_s <= 0:
            return observation
        self._history.append(observation)
        newest_s = observation.stamp_s - self._delay_s
        while len(self._history) > 1 and self._history[1].stamp_s <= newest_s:
            self._history.popleft()
        return self._history[0]

    def _disturbed(self, observation: ObservationT) -> ObservationT:
        if not self._nan and self._noise_std <= 0:
            return observation
        values = {name: getattr(observation, name) for name in self._fields}
        changes = {
            name: self._disturb(array) for name, array in values.items() if array is not None
        }
        return replace(observation, **changes)  # type: ignore[type-var]

    def _disturb(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        noisy = array + self._rng.normal(0.0, self._noise_std, array.shape)
        if np.issubdtype(array.dtype, np.integer):
            limits = np.iinfo(array.dtype)
            return np.clip(np.rint(noisy), limits.min, limits.max).astype(array.dtype)
        return np.full_like(array, np.nan) if self._nan else noisy
