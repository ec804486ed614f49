"""Bidex' client around the MANUS SDK, with two gloves."""

from typing import Any, Literal

import numpy as np

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.emulators.streaming import StreamingEmulator
from dexhil.drivers.emulators.wearer import rotated
from dexhil.drivers.emulators.zmq_link import ZmqLink
from dexhil.drivers.wire.manus import (
    N_NODES,
    NODE_ORDERS,
    Angles,
    Skeleton,
    format_angles,
    format_skeletons,
)

LEFT_GLOVE, RIGHT_GLOVE = "60f3738b", "bccdf6ef"


class ManusEmulator(StreamingEmulator):
    """Sends both skeletons in one message, told ``send ergonomics`` angles instead.

    With ``send integrated`` the nodes come in the order of the integrated SDK; with
    ``send single`` the right glove is alone.
    """

    driver = "manus"
    rate_hz = 90.0

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._zmq = self.add(ZmqLink())
        self._what = "skeleton"

    def options(self) -> dict[str, Any]:
        return {**super().options(), "glove": RIGHT_GLOVE}

    def messages(self) -> list[bytes]:
        if self._what == "ergonomics":
            angles = np.rad2deg(self.wearer.angles()) * (np.nan if self.knobs.nan else 1.0)
            return [format_angles(Angles(angles, angles))]
        right = self._skeleton(RIGHT_GLOVE, "right")
        if self._what == "single":
            return [format_skeletons(right)]
        return [format_skeletons(self._skeleton(LEFT_GLOVE, "left"), right)]

    def say(self, message: bytes) -> None:
        self._zmq.send(message)

    def _skeleton(self, glove: str, side: Literal["left", "right"]) -> Skeleton:
        _, (w, x, y, z) = self.wearer.wrist()
        points: Matrix = rotated(self.wearer.keypoints(side), np.array([w, x, y, z]))
        if self.knobs.nan:
            points = np.full_like(points, np.nan)
        nodes = np.zeros((N_NODES, 7))
        nodes[:, 3:] = (x, y, z, w)
        order = NODE_ORDERS["integrated" if self._what == "integrated" else "core"]
        nodes[list(order), :3] = points
        # The metacarpals' bases, which are no keypoints: a third of the way to the knuckle.
        knuckles = [order[i] for i in (5, 9, 13, 17)]
        for knuckle in knuckles:
            nodes[knuckle - 1, :3] = nodes[order[0], :3] + nodes[knuckle, :3] / 3
        return Skeleton(glove, nodes)

    def control(self, verb: str, *values: str) -> None:
        kinds = ("skeleton", "single", "integrated", "ergonomics")
        if verb != "send":
            super().control(verb, *values)
            return
        if len(values) != 1 or values[0] not in kinds:
            raise ValueError(f"send takes one of {kinds}")
        self._what = values[0]

    def reset(self) -> None:
        super().reset()
        self._what = "skeleton"
