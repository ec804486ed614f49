"""Between what a rig shows and takes, and what a policy server is told and says. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from dexhil.policy.episodes import Features
from dexhil.policy.errors import RemoteError
from dexhil.policy.remote.config import IMAGES, Entry, Key, RemoteConfig

Arrays = Mapping[str, npt.NDArray[Any]]
Places = list[tuple[str, int]]  # A feature, and an element of it.

_STATE: Final = "observation.state"
_VECTORS: Final = (_STATE, "observation.environment_state")
_PARTS: Final = {"arm": ("arm.",), "hand": ("hand.",), "joints": ("arm.", "hand.")}
_MOST_WORDS: Final = 8  # Names in an error.


class Translation:
    """Speaks to one server for one rig.

    Args:
        config: What the server wants.
        features: What the rig shows and takes.
        task: The prompt, if the configuration has none.

    Raises:
        RemoteError: The rig has no such camera or element; or the server's joints are others.
    """

    def __init__(self, config: RemoteConfig, features: Features, task: str) -> None:
        self._config, self._features = config, features
        self._prompt = task if config.prompt is None else config.prompt
        for entry in config.observation:
            if entry.camera is not None and entry.camera not in features.cameras:
                raise self._error(f"there is no camera {entry.camera!r}", features.cameras)
        self._places = {
            entry.key: self._find(entry.numbers)
            for entry in config.observation
            if entry.numbers is not None
        }
        self._order = self._columns(features["action"].names or ())

    def request(self, observation: Arrays, *, reset: bool) -> dict[str, Any]:
        """Return what the server is sent.

        Args:
            observation: Of the rig. Vectors by feature name, pictures (height, width, 3).
            reset: Somebody else drove since the last request.
        """
        config, request = self._config, dict[str, Any]()
        for entry in config.observation:
            if entry.camera is not None:
                value = picture(observation[IMAGES + entry.camera], entry)
            else:
                places = self._places[entry.key]
                value = np.array([observation[name][i] for name, i in places], np.float32)
            _put(request, entry.key, value)
        if config.prompt_key:
            _put(request, config.prompt_key, self._prompt)
        if config.reset_key is not None:
            request[config.reset_key] = reset
        return request

    def actions(self, answer: Any) -> npt.NDArray[np.float64]:
        """Return the joint targets in an answer, arm first [rad]. Shape (horizon, n).

        Raises:
            ValueError: There are none, for another robot, or not finite.
        """
        key, n = self._config.actions_key, len(self._order)
        entries = answer if isinstance(answer, dict) else {}
        said = entries.get(key)
        if not isinstance(said, np.ndarray):
            has = ", ".join(map(repr, list(entries)[:_MOST_WORDS])) or "nothing"
            raise ValueError(f"no array {key!r} in its answer, which has {has:.100}")
        if said.ndim != 2 or len(said) == 0 or said.shape[1] != n:
            raise ValueError(
                f"{key!r} has shape {said.shape}, expected (horizon, {n}): this robot has {n} "
                "joints. Was it trained for this arm and hand?"
            )
        chunk = said[:, self._order].astype(np.float64)
        if not np.isfinite(chunk).all():
            raise ValueError(f"{key!r} is not finite. Check its inputs and its training")
        return chunk

    def blank(self) -> dict[str, npt.NDArray[Any]]:
        """Return an observation in which everything is zero and black, to try the server with."""
        features = self._features
        numbers = {name: np.zeros(features[name].shape) for name in _VECTORS if name in features}
        pictures = {
            name: np.zeros(features[name].shape, np.uint8)
            for name in (features.cameras[camera] for camera in self._config.cameras)
        }
        return {**numbers, **pictures}

    def _find(self, wanted: str | Sequence[str]) -> Places:
        """Return where the numbers are: those of a part, of a feature, or by their names."""
        every = {
            element: (name, i)
            for name in _VECTORS
            if name in self._features
            for i, element in enumerate(self._features[name].names or ())
        }
        if not isinstance(wanted, str):
            unknown = [element for element in wanted if element not in every]
            if unknown:
                raise self._error(f"nothing is called {unknown[0]!r}", every)
            return [every[element] for element in wanted]
        if wanted in _PARTS:
            actions = self._features["action"].names or ()
            return [every[joint] for joint in actions if joint.startswith(_PARTS[wanted])]
        if wanted not in _VECTORS or wanted not in self._features:
            raise self._error(f"there are no numbers {wanted!r}", (*_PARTS, *_VECTORS))
        return [place for place in every.values() if place[0] == wanted]

    def _columns(self, ours: Sequence[str]) -> list[int]:
        """Return which column of the server's each of our joints is."""
        theirs = self._config.joints or tuple(ours)
        if sorted(theirs) != sorted(ours):
            odd = sorted(set(theirs) ^ set(ours)) or sorted(theirs)
            raise self._error(f"'joints' and this rig's differ in {odd[0]!r}", ours)
        return [theirs.index(joint) for joint in ours]

    def _error(self, what: str, known: Sequence[str] | Mapping[str, Any]) -> RemoteError:
        names = list(known)
        more = f" and {len(names) - _MOST_WORDS} more" if len(names) > _MOST_WORDS else ""
        has = ", ".join(names[:_MOST_WORDS]) or "none"
        return RemoteError(f"{self._config.url}: {what} on this rig. It has: {has}{more}.")


def picture(image: npt.NDArray[np.uint8], entry: Entry) -> npt.NDArray[np.uint8]:
    """Return a picture as the server wants it; see `Entry`.

    Args:
        image: RGB, (height, width, 3).
        entry: Size, fit and order of axes.
    """
    if entry.size is not None and image.shape[:2] != entry.size:
        image = _resized(image, *entry.size, pad=entry.fit == "pad")
    return np.moveaxis(image, -1, 0) if entry.channels_first else image


def _resized(
    image: npt.NDArray[np.uint8], height: int, width: int, *, pad: bool
) -> npt.NDArray[np.uint8]:
    shown_height, shown_width = height, width
    if pad:
        ratio = max(image.shape[0] / height, image.shape[1] / width)
        shown_height = max(1, int(image.shape[0] / ratio))
        shown_width = max(1, int(image.shape[1] / ratio))
    # Filter and rounding are those of openpi: a policy sees what it was trained with.
    shown = Image.fromarray(image).resize((shown_width, shown_height), Image.Resampling.BILINEAR)
    result = np.zeros((height, width, 3), np.uint8)
    top, left = (height - shown_height) // 2, (width - shown_width) // 2
    result[top : top + shown_height, left : left + shown_width] = np.asarray(shown)
    return result


def _put(message: dict[str, Any], key: Key, value: Any) -> None:
    """Put a value where ``key`` says, in entries of entries."""
    *above, last = (key,) if isinstance(key, str) else key
    for name in above:
        message = message.setdefault(name, {})
    message[last] = value
