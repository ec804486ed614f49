"""HID reports of 3Dconnexion's SpaceMouse family.

Report 1 is translation (and, on models from 2013 on, rotation behind it), report 2 rotation,
report 3 buttons, one bit each; others, such as report 23 with the battery's level, are signs
of life only. Layout, identifiers and signs: the device table of the PySpaceMouse project,
https://github.com/JakubAndrysek/PySpaceMouse.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

# Vendor and product of every model, by name.
MODELS = {
    (0x046D, 0xC625): "SpacePilot",
    (0x046D, 0xC626): "SpaceNavigator",
    (0x046D, 0xC627): "SpaceExplorer",
    (0x046D, 0xC629): "SpacePilot Pro",
    (0x046D, 0xC62B): "SpaceMouse Pro",
    (0x256F, 0xC62E): "SpaceMouse Wireless (cable)",
    (0x256F, 0xC632): "SpaceMouse Pro Wireless (receiver)",
    (0x256F, 0xC633): "SpaceMouse Enterprise",
    (0x256F, 0xC635): "SpaceMouse Compact",
    (0x256F, 0xC638): "SpaceMouse Pro Wireless (Bluetooth)",
    (0x256F, 0xC63A): "SpaceMouse Wireless (Bluetooth)",
    (0x256F, 0xC641): "SpaceMouse (USB)",
    (0x256F, 0xC652): "Universal Receiver",
}
TRANSLATION, ROTATION, BUTTONS, BATTERY = 1, 2, 3, 23
FULL_SCALE = 350  # Counts of a cap pushed to its stop.
N_BUTTONS = 32  # No model has a bit beyond the fourth byte.
# Bits of the two buttons that every small model has, where a configuration names no others.
DEFAULT_BUTTONS = {"takeover": 0, "release": 1}

_AXES = struct.Struct("<3h")
_TRANSLATION_SIGNS = (1, -1, -1)
_ROTATION_SIGNS = (-1, -1, 1)

Axes = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Report:
    """What one report says; ``None`` where it says nothing.

    Attributes:
        translation: x to the right, y away from the cable, z up; of full scale, -1 to 1.
        rotation: Pitch, roll, yaw; of full scale, -1 to 1.
        buttons: Numbers of the buttons that are down, from 0.
    """

    translation: Axes | None = None
    rotation: Axes | None = None
    buttons: frozenset[int] | None = None


def parse(data: bytes) -> Report | None:
    """Return what a report says, or ``None`` for what is no report of ours or cut short."""
    number, body = data[:1], data[1:]
    if number == bytes([TRANSLATION]) and len(body) >= _AXES.size:
        rotation = None
        if len(body) >= 2 * _AXES.size:
            rotation = _axes(body, _AXES.size, _ROTATION_SIGNS)
        return Report(translation=_axes(body, 0, _TRANSLATION_SIGNS), rotation=rotation)
    if number == bytes([ROTATION]) and len(body) >= _AXES.size:
        return Report(rotation=_axes(body, 0, _ROTATION_SIGNS))
    if number == bytes([BUTTONS]) and body:
        bits = int.from_bytes(body[: N_BUTTONS // 8], "little")
        return Report(buttons=frozenset(n for n in range(N_BUTTONS) if bits >> n & 1))
    if number == bytes([BATTERY]):
        return Report()
    return None


def encode_buttons(buttons: Iterable[int]) -> bytes:
    """Return the report with exactly ``buttons`` down."""
    bits = sum(1 << number for number in set(buttons))
    return bytes([BUTTONS]) + bits.to_bytes(N_BUTTONS // 8, "little")


def encode_translation(translation: Axes) -> bytes:
    """Return the report of a cap that is pushed. Inverse of ``parse``, to within one count."""
    return bytes([TRANSLATION]) + _counts(translation, _TRANSLATION_SIGNS)


def encode_rotation(rotation: Axes) -> bytes:
    """Return the report of a cap that is turned. Inverse of ``parse``, to within one count."""
    return bytes([ROTATION]) + _counts(rotation, _ROTATION_SIGNS)


def _axes(body: bytes, at: int, signs: tuple[int, int, int]) -> Axes:
    x, y, z = (
        # Single caps exceed full scale by a little.
        sign * max(-1.0, min(1.0, count / FULL_SCALE))
        for sign, count in zip(signs, _AXES.unpack_from(body, at), strict=True)
    )
    return x, y, z


def _counts(axes: Axes, signs: tuple[int, int, int]) -> bytes:
    return _AXES.pack(*(round(s * a * FULL_SCALE) for s, a in zip(signs, axes, strict=True)))
