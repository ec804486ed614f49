"""What every real switch shares: one thread that listens to its wire."""

from abc import abstractmethod
from collections.abc import Iterable

from dexhil.drivers.clock import Clock
from dexhil.drivers.switch.switch import Switch, SwitchObservation, SwitchSpec
from dexhil.drivers.wire import Wire
from dexhil.drivers.worker import Worker

QUIET_S = 0.3  # No sign of life for longer than this is worth a warning [s].
WAIT_S = 0.02  # One round of listening; also how finely time is looked at [s].


class ListeningSwitch(Switch):
    """A switch behind a wire. A driver implements ``_begin`` and ``_hear``, and may ``_part``.

    Args:
        spec: What it is.
        wire: Where its bytes come from.
        name: In the rig file.
        clock: Stamps samples; the host's when ``None``.
    """

    def __init__(
        self, spec: SwitchSpec, wire: Wire, *, name: str, clock: Clock | None = None
    ) -> None:
        super().__init__(name=name, clock=clock)
        self._spec = spec
        self._wire = wire
        self._worker: Worker | None = None
        self._newest: SwitchObservation | None = None
        # Both belong to the thread; what it publishes is a copy.
        self._pressed: set[str] = set()
        self._counts: dict[str, int] = {}

    @property
    def spec(self) -> SwitchSpec:
        return self._spec

    # -- What a driver implements, called by the thread ------------------------------

    @abstractmethod
    def _begin(self) -> None:
        """Forget everything. The wire is about to be opened."""

    @abstractmethod
    def _hear(self, data: bytes) -> float | None:
        """Take what came, perhaps nothing, and press and release buttons by it.

        Returns:
            When the link was alive, as far as this tells [s]; ``None`` if it tells nothing.
        """

    def _part(self) -> None:
        """Say goodbye. The thread has ended, the wire is still open unless it broke."""

    def _press(self, button: str) -> None:
        """Note that ``button`` is down. What is down already is not pressed again."""
        if button not in self._pressed:
            self._pressed.add(button)
            self._counts[button] += 1

    def _release(self, buttons: Iterable[str]) -> None:
        """Note that ``buttons`` are up."""
        self._pressed.difference_update(buttons)

    # -- The holes of Device ---------------------------------------------------------

    def _open(self, timeout_s: float) -> None:
        self._newest = None
        self._pressed = set()
        self._counts = dict.fromkeys(self._spec.buttons, 0)
        self._begin()
        self._wire.open()
        worker = self._worker = Worker(self._step, f"{self.name} listens")
        worker.start()
        give_up_s = self.clock.now_s() + timeout_s
        while self._newest is None:
            worker.check()
            if self.clock.now_s() > give_up_s:
                raise TimeoutError(f"{self._wire} says nothing")
            self.clock.sleep(0.002)

    def _close(self) -> None:
        worker, self._worker = self._worker, None
        try:
            if worker is not None:
                worker.stop()
                self._part()
        finally:
            self._wire.close()

    def _read(self) -> SwitchObservation:
        if self._worker is not None:
            self._worker.check()
        if self._newest is None:
            raise ConnectionError(f"{self._wire} says nothing")
        return self._newest

    def _warnings(self) -> tuple[str, ...]:
        newest = self._newest
        quiet_s = 0.0 if newest is None else self.clock.now_s() - newest.stamp_s
        if quiet_s <= QUIET_S:
            return ()
        return (f"{self._wire} has given no sign of life for {quiet_s * 1e3:.0f} ms",)

    def _step(self) -> None:
        alive_s = self._hear(self._wire.receive(WAIT_S))
        if alive_s is None:
            if self._newest is None:
                return
            alive_s = self._newest.stamp_s
        # The whole sample or none of it: one assignment.
        self._newest = SwitchObservation(
            stamp_s=alive_s, pressed=frozenset(self._pressed), counts=self._counts
        )
