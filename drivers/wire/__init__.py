"""Links to devices: every byte passes here, and can be captured to a file and replayed.

One module per transport, so that nobody needs an SDK for a wire that they do not use.
Beside them stand the codecs, one module per protocol: pure functions between bytes and
values, shared by the driver at one end and the emulator at the other, and pinned by
published examples.
"""

from dexhil.drivers.wire.wire import Wire

__all__ = ["Wire"]
