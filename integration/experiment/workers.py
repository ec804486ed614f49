"""Worker processes that end with whoever they work for, whatever ends that."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def workers(n: int) -> Iterator[ProcessPoolExecutor]:
    """Keep ``n`` processes that do what is submitted, one core each.

    When the ``with`` block is left by an exception, Ctrl-C among them, they end at once, in the
    middle of what they do; so they do when this process is killed. Ctrl-C itself they leave to it.
    """
    context = get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=_begin, initargs=(reader,))
    try:
        yield pool
    except BaseException:
        writer.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        writer.close()
        reader.close()


def _begin(boss: Connection) -> None:
    """Prepare a worker. Nobody ever sends through ``boss``; it closes when all is over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(boss,), daemon=True).start()
    # Networks this small are slower on two threads than on one, and the other core has work.
    os.environ["OMP_NUM_THREADS"] = "1"  # Torch asks when it is imported.


def _end_with(boss: Connection) -> None:
    wait([boss])
    os._exit(1)
