"""What can go wrong on a wire, on request. The same verbs as ``dexhil.drivers.faults``."""

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Knobs:
    """Knobs of one emulator. They add up and stay until ``clear``.

    The links honour the first group by themselves. The second group is about what a
    message says, so each emulator honours what its device can do.

    Attributes:
        frozen: It hangs: hears nothing, says nothing, the link stays up.
        unplugged: The cable is pulled: links are closed.
        drop: Probability that a message is lost, either way.
        delay_s: Everything it says comes this much later [s].
        corrupt: Probability that one bit of what it says is flipped.
        partial: Probability that what it says breaks off half-way.
        duplicate: Probability that it says something twice.
        echo: It sends back whatever it hears, as half-duplex adapters do.
        repeating: It says the same measured values again and again.
        nan: It lost what it measures, and says so in its own way.
        rewind_s: Its clock is this much behind where it was [s].
    """

    frozen: bool = False
    unplugged: bool = False
    drop: float = 0.0
    delay_s: float = 0.0
    corrupt: float = 0.0
    partial: float = 0.0
    duplicate: float = 0.0
    echo: bool = False
    repeating: bool = False
    nan: bool = False
    rewind_s: float = 0.0

    def clear(self) -> None:
        """Mend everything."""
        for field in fields(self):
            setattr(self, field.name, field.default)

    def turn(self, verb: str, *values: str) -> bool:
        """Turn the knob called ``verb``. Returns whether there is one.

        Raises:
            ValueError: ``values`` are not what it takes.
        """
        switches = {
            "freeze": "frozen",
            "unplug": "unplugged",
            "echo": "echo",
            "repeat": "repeating",
            "nan": "nan",
        }
        amounts = {
            "drop": "drop",
            "delay": "delay_s",
            "corrupt": "corrupt",
            "partial": "partial",
            "duplicate": "duplicate",
            "rewind": "rewind_s",
        }
        if verb in switches and not values:
            setattr(self, switches[verb], True)
        elif verb in amounts and len(values) == 1:
            setattr(self, amounts[verb], float(values[0]))
        elif verb == "clear" and not values:
            self.clear()
        elif verb in switches or verb in amounts or verb == "clear":
            raise ValueError(f"{verb} takes {'one number' if verb in amounts else 'no value'}")
        else:
            return False
        return True
