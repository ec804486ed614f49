"""What a check of a dataset found."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong.

    Attributes:
        episode: Of which; ``None`` if of the whole dataset.
        text: What, in words.
        warning: Training can go on; a person should know.
    """

    episode: int | None
    text: str
    warning: bool = False

    def __str__(self) -> str:
        return self.text if self.episode is None else f"episode {self.episode}: {self.text}"


@dataclass(slots=True, kw_only=True)
class Report:
    """What was found.

    Attributes:
        root: The dataset.
        n_episodes: How many there are, as far as they can be counted.
        n_frames: Their frames together.
        findings: What is wrong, in the order of the episodes.
        left_out: What could not be checked, and why.
    """

    root: Path
    n_episodes: int = 0
    n_frames: int = 0
    findings: list[Finding] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        """What a training run would stumble over."""
        return [finding for finding in self.findings if not finding.warning]

    @property
    def warnings(self) -> list[Finding]:
        """What a person should know."""
        return [finding for finding in self.findings if finding.warning]
