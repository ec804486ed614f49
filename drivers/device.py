"""What every device is: something you connect, observe and disconnect.

Callers use the ``@final`` methods. Drivers implement the underscored ones:
three to observe (``_open _close _read``), four more to act
(``_enable _disable _limit _write``). State checks, clamping, staleness and
clean-up are written once, here, so no driver can forget them.
"""

import atexit
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, final
from weakref import WeakSet

from dexhil.drivers.clock import Clock, MonotonicClock
from dexhil.drivers.errors import (
    ConnectError,
    DeviceError,
    FaultError,
    LifecycleError,
    StaleError,
)

log = logging.getLogger(__name__)


class State(Enum):
    """Where a device is in its life. ``ENABLED`` is the only state that can move."""

    DISCONNECTED = "disconnected"
    CONNECTED = "connected"
    ENABLED = "enabled"
    FAULTED = "faulted"


class Stamped(Protocol):
    """Every observation says when it was taken."""

    @property
    def stamp_s(self) -> float: ...


class Spec(Protocol):
    """What can be known about a device before it is connected."""

    @property
    def simulated(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Health:
    """A device's opinion of itself. Asking is always allowed and never raises."""

    state: State
    ok: bool
    reasons: tuple[str, ...] = ()


SpecT = TypeVar("SpecT", bound=Spec)
ObservationT = TypeVar("ObservationT", bound=Stamped)
CommandT = TypeVar("CommandT")


class Device(ABC, Generic[SpecT, ObservationT]):
    """Something that can be observed.

    Construction opens nothing and cannot fail for hardware reasons.
    Connecting never moves anything. Disconnecting is safe to repeat.
    A fault latches: the device refuses everything until disconnected and
    connected again, even if its cause goes away, because doubt always stops.
    """

    config_type: ClassVar[type]
    in_world: ClassVar[bool] = False  # Whether it is a port of a simulated world.

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        # A driver that replaces one by accident would lose what keeps it safe.
        for name, base in ((name, base) for name in vars(cls) for base in cls.__mro__[1:]):
            if getattr(vars(base).get(name), "__final__", False):
                raise TypeError(f"{cls.__name__} must not replace {base.__name__}.{name}")

    def __init__(self, *, name: str, clock: Clock | None = None) -> None:
        self.name = name
        self.clock: Clock = clock or MonotonicClock()
        self._state = State.DISCONNECTED
        self._fault: str | None = None
        self._tell_fault: Callable[[str], None] | None = None
        self._lock = threading.RLock()

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    @property
    @abstractmethod
    def spec(self) -> SpecT:
        """What the device is. Readable before connecting; never changes."""

    @property
    @final
    def state(self) -> State:
        return self._state

    @final
    def connect(self, timeout_s: float = 5.0) -> None:
        """Open the device. On failure nothing stays open.

        Args:
            timeout_s: Longest wait for the first sample [s].

        Raises:
            ConnectError: The device did not answer in time.
            DeviceError: Any other of ours, unchanged, where the driver knows better
                what is wrong, e.g. a ``ConfigError`` for a missing file.
            LifecycleError: It is already connected.
        """
        with self._lock:
            self._require(State.DISCONNECTED)
            try:
                self._open(timeout_s)
                self._read()
            except BaseException as error:
                self._close_quietly()
                if isinstance(error, DeviceError) or not isinstance(error, Exception):
                    raise  # It already says what is wrong, or somebody pressed Ctrl-C.
                raise ConnectError(
                    f"{self}: no sample within {timeout_s:g} s ({error}). "
                    "Check power and the port in the rig file."
                ) from error
            self._state, self._fault = State.CONNECTED, None
            log.info("%s connected", self)

    @final
    def disconnect(self) -> None:
        """Make the device safe and let go of it. Repeating does nothing."""
        with self._lock:
            if self._state is State.DISCONNECTED:
                return
            self._make_safe()
            self._state = State.DISCONNECTED
            self._close_quietly()
            log.info("%s disconnected", self)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()

    @final
    def observe(self, max_age_s: float | None = None) -> ObservationT:
        """Return the newest sample without waiting for another one.

        Args:
            max_age_s: Oldest sample the caller can use [s]. ``None`` takes any.

        Raises:
            StaleError: The newest sample is older than ``max_age_s``.
            FaultError: The device faulted, just before or while reading.
            LifecycleError: The device is not connected.
        """
        with self._lock:
            self._require(State.CONNECTED, State.ENABLED)
            with self._tripping("read"):
                observation = self._read()
        age_s = self.clock.now_s() - observation.stamp_s
        # Written so that a stamp that is no number counts as too old.
        if max_age_s is not None and not age_s <= max_age_s:
            raise StaleError(
                f"{self}: newest sample is {age_s * 1e3:.0f} ms old, "
                f"allowed {max_age_s * 1e3:.0f} ms. Is the device still streaming?"
            )
        return observation

    @final
    def health(self) -> Health:
        """Say how the device is. Allowed in any state; never raises.

        A fault stays visible after disconnecting, until the next connect.
        """
        if self._fault is not None:
            return Health(self._state, ok=False, reasons=(self._fault,))
        reasons: tuple[str, ...] = ()
        if self._state is not State.DISCONNECTED:
            try:
                reasons = self._warnings()
            except Exception as error:
                reasons = (f"its health is unknown ({error})",)
        return Health(self._state, ok=not reasons, reasons=reasons)

    @final
    def on_fault(self, tell: Callable[[str], None]) -> None:
        """Have ``tell`` called when a fault latches, before the device is made safe.

        Making it safe may take tenths of a second, during which whoever met the fault waits;
        others need not. A second ``tell`` takes the place of the first.

        Args:
            tell: Called with the sentence that the ``FaultError`` will say, by whichever thread
                met the fault. Must not wait.
        """
        self._tell_fault = tell

    @final
    def recover(self, timeout_s: float = 10.0) -> None:
        """Clear what the device latched, because a person asked, and connect again.

        A protective stop or an overloaded motor stays latched inside the device itself.
        Nothing moves, and an actuator is not enabled afterwards. Allowed in any state.

        Args:
            timeout_s: Longest wait for the device to clear itself, and again to connect [s].

        Raises:
            ConnectError: The device could not be reached, or refused; it is disconnected.
        """
        with self._lock:
            self.disconnect()
            try:
                self._recover(timeout_s)
            except Exception as error:
                raise ConnectError(
                    f"{self}: could not be recovered ({error}). Clear the cause first."
                ) from error
            self.connect(timeout_s)

    # -- What a driver implements -------------------------------------------

    @abstractmethod
    def _open(self, timeout_s: float) -> None:
        """Open the link and wait for a first sample. Must not move anything."""

    @abstractmethod
    def _close(self) -> None:
        """Release everything ``_open`` took, however far it got."""

    @abstractmethod
    def _read(self) -> ObservationT:
        """Return the newest sample, from memory if a thread is filling it.

        Whatever is raised here latches a fault. A thread that fails keeps its
        exception, and this raises it: only callers' threads change the state.
        """

    def _warnings(self) -> tuple[str, ...]:
        """Say what is wrong but not yet a fault."""
        return ()

    def _recover(self, timeout_s: float) -> None:
        """Clear what the device latched. It is disconnected; leave no link open."""

    # -- Shared -------------------------------------------------------------

    def _make_safe(self) -> None:
        """Leave the device unable to move. Passive devices already are."""

    @final
    @contextmanager
    def _tripping(self, action: str) -> Iterator[None]:
        """Turn whatever a driver raises into a latched fault."""
        try:
            yield
        except Exception as error:
            self._trip(f"{action} failed ({error})")
            raise FaultError(self._explain_fault()) from error

    @final
    def _trip(self, reason: str) -> None:
        """Latch the first fault; later ones are usually its consequences."""
        first, self._fault = self._fault is None, self._fault or reason
        try:
            if first and self._tell_fault is not None:
                self._tell_fault(self._explain_fault())
            if first:
                log.error("%s faulted: %s", self, reason)
        finally:
            try:
                self._make_safe()
            finally:
                self._state = State.FAULTED  # Also when Ctrl-C is pressed meanwhile.

    @final
    def _explain_fault(self) -> str:
        return f"{self}: {self._fault}. Disconnect, clear the cause, connect again."

    @final
    def _require(self, *allowed: State) -> None:
        if self._state in allowed:
            return
        if self._state is State.FAULTED:
            raise FaultError(self._explain_fault())
        if self._state is State.DISCONNECTED:
            raise LifecycleError(f"{self}: not connected. Call connect() or use a with block.")
        wanted = " or ".join(state.value for state in allowed)
        raise LifecycleError(f"{self}: needs to be {wanted}, is {self._state.value}.")

    @final
    def _close_quietly(self) -> None:
        try:
            self._close()
        except Exception as error:
            log.error("%s did not close cleanly (%s)", self, error)
            log.debug("what went wrong while closing", exc_info=True)


class Actuator(Device[SpecT, ObservationT], Generic[SpecT, ObservationT, CommandT]):
    """Something that can be observed and told to move."""

    @final
    def enable(self) -> None:
        """Allow motion. The device holds where it is until commanded.

        Raises:
            FaultError: The device faulted, before or while enabling; it is disabled.
            LifecycleError: It is not connected, or enabled already.
        """
        with self._lock:
            self._require(State.CONNECTED)
            self._state = State.ENABLED  # First: enabling half-way must be undone.
            _enabled.add(self)
            try:
                with self._tripping("enabling"):
                    self._enable()
            except BaseException as error:
                if not isinstance(error, Exception):  # Somebody pressed Ctrl-C.
                    self.disable()
                raise

    @final
    def disable(self) -> None:
        """Forbid motion. Always allowed, from any state, from any thread.

        This is no emergency stop: that is a button that cuts the power. Where the device
        cannot be disabled, that is a fault.
        """
        if self._state in (State.DISCONNECTED, State.CONNECTED):
            return  # Nor wait for somebody who connects or recovers it: others need disabling.
        with self._lock:
            self._make_safe()
            if self._state is State.ENABLED:
                self._state = State.CONNECTED if self._fault is None else State.FAULTED

    @final
    def command(self, command: CommandT) -> CommandT:
        """Send a target and return the one actually sent. Never waits for motion.

        A target outside the limits is clamped, because policies explore. The
        return value, not the argument, is what belongs in a dataset.

        Raises:
            CommandError: Wrong shape, or not finite. Nothing was sent.
            FaultError: The device faulted, before or while writing; it is disabled.
            LifecycleError: The device is not enabled.
        """
        with self._lock:
            self._require(State.ENABLED)
            limited = self._limit(command)
            with self._tripping("write"):
                self._write(limited)
            return limited

    @abstractmethod
    def _enable(self) -> None:
        """Switch the drives on, holding the present position."""

    @abstractmethod
    def _disable(self) -> None:
        """Switch the drives off or hold, whichever is safe. Must be idempotent."""

    @abstractmethod
    def _limit(self, command: CommandT) -> CommandT:
        """Validate, then clamp to the limits in ``spec``."""

    @abstractmethod
    def _write(self, command: CommandT) -> None:
        """Hand over an already limited target and return. Whatever is raised latches a fault."""

    @final
    def _make_safe(self) -> None:
        # A faulted device is told again, since the first time may not have reached it.
        if self._state not in (State.ENABLED, State.FAULTED):
            return
        try:
            self._disable()
        except Exception as error:
            if self._fault is None:
                self._fault = f"could not be disabled ({error}); use the emergency stop"
            log.error("%s could not be disabled (%s); use the emergency stop", self, error)
            log.debug("what went wrong while disabling", exc_info=True)


# A hand without a watchdog would go on with what it was last told when a program just ends.
_enabled: "WeakSet[Actuator[Any, Any, Any]]" = WeakSet()


@atexit.register
def _disconnect_all() -> None:
    for device in list(_enabled):
        device.disconnect()


os.register_at_fork(after_in_child=_enabled.clear)  # The devices are the parent's.
