"""Arrays in msgpack, as openpi writes them.

An array is a map of its bytes, type and shape with the mark ``b"__ndarray__"``; a NumPy scalar is
one of its value and type with the mark ``b"__npgeneric__"``. What comes in was written by a
stranger: nothing but numbers is made of it, and only what the bytes are enough for.
"""

import re
from math import prod
from typing import Any, Final

import msgpack
import numpy as np
import numpy.typing as npt

_ARRAY: Final = b"__ndarray__"
_SCALAR: Final = b"__npgeneric__"
_DATA, _DTYPE, _SHAPE = b"data", b"dtype", b"shape"
_NUMBERS: Final = re.compile(r"[<>|=]?[biuf][1248]")
_MOST_AXES: Final = 8


def pack(message: Any) -> bytes:
    """Return a message of maps, lists, texts, numbers and arrays of numbers as bytes.

    Raises:
        TypeError: There is something else in it.
    """
    packed: bytes = msgpack.packb(message, default=_pack)
    return packed


def unpack(data: bytes) -> Any:
    """Return the message that ``data`` is. Its arrays are read-only and share its memory.

    Raises:
        ValueError: It is none.
    """
    try:
        return msgpack.unpackb(data, object_hook=_unpack)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{len(data)} bytes that are no message of openpi's ({error})") from error


def _pack(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "biuf":
        raise TypeError(f"{type(value).__name__} {value!r:.60} cannot be sent to a policy")
    if isinstance(value, np.generic):
        return {_SCALAR: True, _DATA: value.item(), _DTYPE: value.dtype.str}
    return {_ARRAY: True, _DATA: value.tobytes(), _DTYPE: value.dtype.str, _SHAPE: value.shape}


def _unpack(value: dict[Any, Any]) -> Any:
    if _ARRAY in value:
        return _array(value.get(_DATA), _dtype(value), value.get(_SHAPE))
    if _SCALAR in value:
        number = value.get(_DATA)
        if not isinstance(number, int | float):
            raise ValueError(f"a number that is {number!r:.60}")
        return _dtype(value).type(number)
    return value


def _dtype(value: dict[Any, Any]) -> np.dtype[Any]:
    name = value.get(_DTYPE)
    if not isinstance(name, str) or _NUMBERS.fullmatch(name) is None:
        raise ValueError(f"an array of {name!r:.60}, only numbers are taken")
    return np.dtype(name)


def _array(data: Any, dtype: np.dtype[Any], shape: Any) -> npt.NDArray[Any]:
    if not isinstance(shape, list) or len(shape) > _MOST_AXES:
        raise ValueError(f"an array of shape {shape!r:.60}")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"an array of shape {shape!r:.60}")
    if not isinstance(data, bytes) or len(data) != prod(shape) * dtype.itemsize:
        given = len(data) if isinstance(data, bytes) else type(data).__name__
        raise ValueError(f"an array {shape} of {dtype} in {given} bytes")
    return np.ndarray(tuple(shape), dtype, data)
