"""Arrays that are safe to hand from one thread to another."""

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]


def frozen(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Copy to float64 and forbid writing, so that a sample never changes after the fact."""
    array: npt.NDArray[np.float64] = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def freeze_fields(instance: object, *names: str) -> None:
    """Replace the named fields of a frozen dataclass by read-only float64 copies.

    ``None`` stays ``None``: not measured is never zeros.
    """
    for name in names:
        value = getattr(instance, name)
        if value is not None:
            object.__setattr__(instance, name, frozen(value))
