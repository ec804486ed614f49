"""A thread that keeps what it raised, so that nobody has to guess why samples stopped."""

import threading
from collections.abc import Callable


class Worker:
    """Repeats ``step`` in a thread of its own until stopped.

    The thread ends at the first exception. It changes no device's state: the device's
    ``_read`` calls ``check``, and what that raises becomes the fault.

    Args:
        step: One round of the work. Must come back within a fraction of a second.
        name: Of the thread.
    """

    def __init__(self, step: Callable[[], None], name: str) -> None:
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self._step = step
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread and wait for it. Repeating does nothing.

        Raises:
            TimeoutError: It did not come back in time.
        """
        self.stopping.set()
        if self._thread.ident is None or self._thread is threading.current_thread():
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"thread {self._thread.name} did not end within {timeout_s:g} s")

    def wait(self, timeout_s: float) -> None:
        """Wait for the thread to end by itself, at most ``timeout_s``."""
        self._thread.join(timeout_s)

    def check(self) -> None:
        """Raise what ended the thread, if anything did.

        Raises:
            ConnectionError: The thread failed; its exception is the cause.
        """
        if self.error is not None:
            raise ConnectionError(str(self.error) or type(self.error).__name__) from self.error

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._step()
        except BaseException as error:  # noqa: BLE001  # Kept for ``check``: SDKs raise anything.
            if not self.stopping.is_set():
                self.error = error
