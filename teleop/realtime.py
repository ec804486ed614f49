"""What an ordinary Linux must be asked for, so that loops in Python keep their deadlines.

Three things hold a loop up that is due: another process has the core, another thread of this
process has the interpreter, or the garbage collector has. The loops therefore ask for real-time
priority; the interpreter is asked to change threads sooner; this process goes before others, so
that a thread which has the interpreter is not itself kept waiting for a core; and objects are
collected while the loops sleep.
"""

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
# How long a thread that wants the interpreter waits before it insists [s]. Python's own 5 ms is
# half a period of the hand's loop, spent anew for every thread that computes when the loop is due.
SWITCH_INTERVAL_S = 1e-4
NICENESS = -15  # Added to that of this process's threads while loops run.
_GROUP = Path("/proc/self/autogroup")

HINT = (
    "loops run without real-time priority and may be late under load. Allow it: put "
    "'@realtime - rtprio 40' and '@realtime - nice -15' into "
    "/etc/security/limits.d/99-dexhil.conf, "
    "sudo groupadd -f realtime, sudo usermod -aG realtime $USER, log in again"
)


def claim_priority(rank: int) -> bool:
    """Give the calling thread real-time priority; return whether that was allowed.

    Above everything that is not real-time, and above lower ranks. The kernel keeps 5 % of each
    core for the rest, so a tick that never ends cannot lock the machine.

    Args:
        rank: 0 for the least urgent loop.
    """
    if not hasattr(os, "SCHED_FIFO"):
        return False
    parameter = os.sched_param(LOWEST_PRIORITY + rank)
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
    niceness = _niceness()
    _set_niceness({place: value + NICENESS for place, value in niceness.items()})
    try:
        yield
    finally:
        _set_niceness(niceness)
        if collecting:
            gc.enable()
        gc.unfreeze()
        sys.setswitchinterval(interval_s)


def tidy() -> None:
    """Collect what the loops left behind. For a thread that has nothing urgent to do."""
    gc.collect(1)


def _niceness() -> dict[Path, int]:
    """Return the niceness of each thread, by where the kernel tells it.

    On Linux it is one of threads, not of processes; and where the kernel groups processes by
    session, it counts within the group only, and the group has one of its own.
    """
    found: dict[Path, int] = {}
    for task in Path("/proc/self/task").glob("*"):
        with suppress(OSError):  # It has just ended.
            found[task] = os.getpriority(os.PRIO_PROCESS, int(task.name))
    with suppress(OSError):  # This kernel makes no groups.
        told = _GROUP.read_text(encoding="ascii").split()
        if told:  # It may make groups and have put this session into none.
            found[_GROUP] = int(told[-1])
    return found


def _set_niceness(niceness: dict[Path, int]) -> None:
    for place, value in niceness.items():
        with suppress(OSError):  # It has ended, or this user may not: ``warn`` says so.
            if place == _GROUP:
                _GROUP.write_text(str(max(value, -20)), encoding="ascii")
            else:
                os.setpriority(os.PRIO_PROCESS, int(place.name), value)
