"""What a dataset says of itself in ``info.json``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dexhil.policy.episodes.errors import CorruptError, DatasetError
from dexhil.policy.episodes.layout import Layout, is_there, read_json
from dexhil.policy.episodes.schema import Features

VERSION = "v3.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What kind of dataset it is.

    Attributes:
        features: Columns and cameras.
        fps: Frames per second.
        robot_type: Name of the rig.
        n_episodes: How many episodes it lists; a kill may have left one more on disk.
    """

    features: Features
    fps: int
    robot_type: str
    n_episodes: int

    @classmethod
    def read(cls, root: Path | str) -> Self:
        """Return what the dataset in ``root`` says of itself.

        Raises:
            CorruptError: If it cannot be read.
            DatasetError: If ``root`` holds no dataset, or one of another version.
            StorageError: If the disk withholds it.
        """
        path = Layout(Path(root)).info
        if not is_there(path):
            raise DatasetError(f"{root}: holds no dataset (no meta/info.json).")
        info = read_json(path)
        if info.get("codebase_version") != VERSION:
            raise DatasetError(
                f"{path}: version is {info.get('codebase_version')!r}, expected {VERSION!r}."
            )
        try:
            return cls(
                features=Features.from_info(info["features"]),
                fps=info["fps"],
                robot_type=info["robot_type"],
                n_episodes=info["total_episodes"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise CorruptError(f"{path}: {error} is missing or of no use.") from error
