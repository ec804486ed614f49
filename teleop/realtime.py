"""What an ordinary Linux must be asked for, so that loops in Python keep their deadlines.

Four things hold a loop up that is due: another process has the core, another thread of this
process has the interpreter, the garbage collector has, or a page of a library was thrown out of
memory and has to be read again. The loops therefore ask for real-time priority; so do all other
threads of this process, below the loops, for one that has the interpreter must not itself be kept
waiting for a core; the interpreter is asked to change threads sooner; objects are collected while
the loops sleep; and what is in memory stays there.
"""

import ctypes
import functools
import gc
import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

# Below the kernel's own threads for interrupts (50). One step per loop above it.
LOWEST_PRIORITY = 10
# Of all other threads of this process while loops run: above every other process.
HELPERS_PRIORITY = 1
# How long a thread that wants the interpreter waits before it insists [s]. Python's own 5 ms is
# half a period of the hand's loop, spent anew for every thread that computes when the loop is due.
SWITCH_INTERVAL_S = 1e-4
_MCL_CURRENT, _MCL_ONFAULT = 1, 4  # sys/mman.h: what is mapped now, once it is in memory.

HINT = (
    "loops run without real-time priority and may be late under load. Allow it: put "
    "'@realtime - rtprio 40' and '@realtime - memlock unlimited' into "
    "/etc/security/limits.d/99-dexhil.conf, "
    "sudo groupadd -f realtime, sudo usermod -aG realtime $USER, log in again"
)


def claim_priority(rank: int | None) -> bool:
    """Give the calling thread real-time priority; return whether that was allowed.

    Above everything that is not real-time, and above lower ranks. The kernel keeps 5 % of each
    core for the rest, so a tick that never ends cannot lock the machine.

    Args:
        rank: 0 for the least urgent loop; ``None`` for what only must not keep loops waiting.
    """
    if not hasattr(os, "SCHED_FIFO"):
        return False
    parameter = os.sched_param(HELPERS_PRIORITY if rank is None else LOWEST_PRIORITY + rank)
    try:
        # Not inherited: a helper process started from a tick is no loop.
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, parameter)
    except OSError:
        return False
    return True


def may_claim_priority() -> bool:
    """Whether this user may run loops with real-time priority. Changes nothing."""
    with ThreadPoolExecutor(1) as pool:  # The priority goes with the thread.
        return pool.submit(claim_priority, 0).result()


@functools.cache  # Once: it is as true for the next attempt.
def warn() -> None:
    """Say what to do where real-time priority is not allowed."""
    log.warning("%s.", HINT)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep this process, its interpreter and its garbage out of the way of its loops."""
    interval_s, collecting = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()  # What is there stays. Looking through all of it takes a tenth of a second.
    gc.disable()
    raised = _raise_threads()
    _keep_in_memory(True)
    try:
        yield
    finally:
        _keep_in_memory(False)
        for thread, before in raised.items():
            _schedule(thread, *before)
        if collecting:
            gc.enable()
        gc.unfreeze()
        sys.setswitchinterval(interval_s)


def tidy() -> None:
    """Collect what the loops left behind. For a thread that has nothing urgent to do."""
    gc.collect(1)


def _raise_threads() -> dict[int, tuple[int, os.sched_param]]:
    """Let every thread there is go before other processes; return how each was scheduled."""
    raised: dict[int, tuple[int, os.sched_param]] = {}
    if not hasattr(os, "SCHED_FIFO"):
        return raised
    wanted = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(HELPERS_PRIORITY)
    for task in Path("/proc/self/task").glob("*"):
        thread = int(task.name)
        with suppress(OSError):  # It has just ended.
            before = os.sched_getscheduler(thread), os.sched_getparam(thread)
            if before[0] == os.SCHED_OTHER and _schedule(thread, *wanted):
                raised[thread] = before
    return raised


def _schedule(thread: int, policy: int, parameter: os.sched_param) -> bool:
    try:
        os.sched_setscheduler(thread, policy, parameter)
    except OSError:  # It has ended, or this user may not: ``warn`` says so.
        return False
    return True


def _keep_in_memory(keep: bool) -> None:
    """Have no page leave memory that is there, or will be read from what is mapped now.

    Where this user may not, or the system cannot, pages come and go as they did.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mlockall"):
        libc.mlockall(_MCL_CURRENT | _MCL_ONFAULT) if keep else libc.munlockall()
