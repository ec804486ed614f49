"""One frame from keypoints to joint targets in one call of compiled code.

Called every 10 ms, each crossing from Python to compiled code and each operation of numpy costs
some 30 µs, whatever it does; so a frame crosses once.
"""

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.retarget.kernels.held import Held
from dexhil.retarget.kernels.jit import compiled
from dexhil.retarget.kernels.net import recall
from dexhil.retarget.kernels.palm import look
from dexhil.retarget.kernels.solver import follow


@compiled
def step(held: Held, keypoints: Matrix, q: Vector) -> Vector | None:
    """Move ``q``, the last answer, to that of a frame and return a copy; None if there is none.

    Args:
        held: A `Setup`.
        keypoints: In any rigid frame [m]. Shape (21, 3).
        q: Is changed, unless there is no answer [rad]. Shape (n,).
    """
    setup = held.value
    points, fine = look(keypoints, setup.mirror, setup.thumb_offset)
    if not fine:
        return None
    start = q.copy()
    if setup.task.led and not recall(setup.nets, setup.person, points, start):
        return None
    if not follow(setup.hand, setup.task, points, start, q):
        return None
    return q.copy()
