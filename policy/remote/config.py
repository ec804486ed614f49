"""What a policy server elsewhere wants to see, and what its answers mean."""

import os
import tomllib
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from dexhil.policy.errors import RemoteError

DESCRIPTION: Final = "dexhil"  # Of ``dexhil serve``, in what it says of itself.
RESET: Final = "dexhil.reset"
API_KEY_ENV: Final = "DEXHIL_API_KEY"
IMAGES: Final = "observation.images."
LONGEST_ANSWER_S: Final = 5.0  # Well below what a policy process may owe an answer for [s].

_SCHEMES: Final = ("ws://", "wss://")
_FORBID: Final = ConfigDict(extra="forbid")


def _url(text: str) -> str:
    if not text.startswith(_SCHEMES):
        raise ValueError(f"{text!r} does not begin with ws:// or wss://")
    return text


Key = str | tuple[str, ...]
Pixels = Annotated[int, Field(ge=1, le=4096)]


@dataclass(frozen=True, slots=True, config=_FORBID)
class Entry:
    """One entry of what the server is shown: a camera's picture, or numbers.

    Attributes:
        key: Its name there; several for an entry in an entry, ``["images", "cam_high"]``.
        camera: Name of the rig's camera, for a picture: uint8, height by width by RGB.
        size: Height and width to bring it to [px]; as it comes when left out.
        fit: Whether the rest is black or the picture is stretched where the sides' ratio differs.
        channels_first: RGB by height by width instead.
        numbers: ``"arm"``, ``"hand"`` or ``"joints"``, both, as measured [rad]; a feature, such as
            ``"observation.state"``; or names of elements of features, ``["hand.index_mcp"]``.
            Sent as float32.
    """

    _: KW_ONLY
    key: Key
    camera: str | None = None
    size: tuple[Pixels, Pixels] | None = None
    fit: Literal["pad", "stretch"] = "pad"
    channels_first: bool = False
    numbers: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("an entry needs a key")
        if (self.camera is None) == (self.numbers is None):
            raise ValueError(f"{self.key!r} needs one of 'camera' and 'numbers'")


@dataclass(frozen=True, slots=True, config=_FORBID)
class RemoteConfig:
    """A policy server, and how it sees this robot.

    Attributes:
        url: ``ws://HOST:PORT``, or ``wss://``.
        observation: What it is shown.
        prompt: What it is told to do; the task of the run when left out.
        prompt_key: Its name for that; it is told nothing when left empty.
        reset_key: Its name for what is true in the first request after somebody else drove.
            openpi's servers have none.
        actions_key: Its name for the actions, joint targets [rad], shape (horizon, n).
        joints: The actions' columns by name, ``arm.*`` and ``hand.*``, if their order is not the
            rig's, arm first.
        execute_steps: Actions of a chunk to execute before the next; half of them when left out.
        rate_hz: At which its actions follow each other; refused where the rig's policy loop has
            another. Nobody compares when left out [1/s].
        answer_s: Longest that an answer may take, but for the first [s].
        api_key_env: Environment variable that holds the key, if it is set. A file is no place.
    """

    _: KW_ONLY
    url: Annotated[str, AfterValidator(_url)]
    observation: Annotated[tuple[Entry, ...], Field(min_length=1)]
    prompt: str | None = None
    prompt_key: Key = "prompt"
    reset_key: str | None = None
    actions_key: str = "actions"
    joints: tuple[str, ...] = ()
    execute_steps: Annotated[int, Field(ge=1)] | None = None
    rate_hz: Annotated[float, Field(gt=0.0)] | None = None
    answer_s: Annotated[float, Field(gt=0.0, le=LONGEST_ANSWER_S)] = 2.0
    api_key_env: str = API_KEY_ENV

    def __post_init__(self) -> None:
        keys = [entry.key for entry in self.observation]
        keys += [key for key in (self.prompt_key, self.reset_key) if key]
        paths = [(key,) if isinstance(key, str) else key for key in keys]
        for i, path in enumerate(paths):
            for other in paths[:i]:
                shorter = min(len(path), len(other))
                if path[:shorter] == other[:shorter]:
                    raise ValueError(f"two entries have the key {keys[i]!r}")

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the rig's cameras whose pictures are sent, each once."""
        return tuple(dict.fromkeys(e.camera for e in self.observation if e.camera is not None))


@dataclass(frozen=True, slots=True)
class Served:
    """What ``dexhil serve`` says of its policy; see `FlowPolicyConfig`. Later ones may say more."""

    _: KW_ONLY
    observations: dict[str, Annotated[int, Field(ge=1)]]
    cameras: tuple[str, ...]
    action_dim: Annotated[int, Field(ge=1)]
    execute_steps: Annotated[int, Field(ge=1)]

    @classmethod
    def read(cls, metadata: Any, url: str) -> Self:
        """Return what a server's first message says.

        Raises:
            RemoteError: It is not ``dexhil serve``, or of another version.
        """
        if not isinstance(metadata, dict) or DESCRIPTION not in metadata:
            raise RemoteError(
                f"{url} is a policy server, but not `dexhil serve`. Write a file that says what "
                "it wants to see, and name that instead; see docs/remote.md."
            )
        served: Self = _read(cls, metadata[DESCRIPTION], f"{url}: what it says of its policy")
        return served

    def config(self, url: str) -> RemoteConfig:
        """Return how that policy is asked: everything has the name that it has here."""
        numbers = [Entry(key=name, numbers=name) for name in self.observations]
        pictures = [Entry(key=name, camera=name.removeprefix(IMAGES)) for name in self.cameras]
        return RemoteConfig(
            url=url,
            observation=(*numbers, *pictures),
            reset_key=RESET,
            execute_steps=self.execute_steps,
        )


def load_remote(text: str) -> RemoteConfig:
    """Return the server that ``text`` names: a file, or the address of a ``dexhil serve``.

    Raises:
        RemoteError: The file cannot be read or is wrong; the server is not there or another.
    """
    if text.startswith(_SCHEMES):
        from dexhil.policy.remote.link import Link  # noqa: PLC0415  # It reads this module.

        with Link(text, api_key=os.environ.get(API_KEY_ENV)) as link:
            return Served.read(link.metadata, text).config(text)
    try:
        table = tomllib.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RemoteError(f"{text}: cannot read it ({error}).") from error
    config: RemoteConfig = _read(RemoteConfig, table, text)
    return config


def _read(kind: type, table: Any, where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(table)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'table'}: {e['msg']}" for e in error.errors()
        )
        raise RemoteError(f"{where}: {details}.") from error
