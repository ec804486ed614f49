"""Values that stay with compiled code from call to call.

Every call takes its arguments apart, array by array. With warm caches that hardly shows, but a call
every 10 ms finds them cold, and then a hand's seventy arrays take longer than what is computed with
them. A held value was taken apart once; a call passes a reference.
"""

from typing import Any

from numba import types
from numba.experimental import structref

from dexhil.retarget.kernels.jit import compiled


@structref.register
class HeldType(types.StructRef):
    """Of `Held`, for the compiler."""


class Held(structref.StructRefProxy):
    """Holds one value of any type that compiled code knows; it alone can look at it."""

    value: Any


structref.define_proxy(Held, HeldType, ["value"])  # type: ignore[no-untyped-call]


@compiled
def hold(value: Any) -> Held:
    """Return a holder of ``value``, which keeps what is in it alive."""
    return Held(value)  # type: ignore[no-untyped-call]
