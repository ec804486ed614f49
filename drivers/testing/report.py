"""A rig report: what was tested on which devices, what was measured, on one page to keep."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import jinja2
import numpy as np
import pytest

N_BINS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One figure of one device.

    Attributes:
        device: Whose.
        quantity: What was measured.
        value: How much.
        unit: Of the value.
        allowed: What the test compares it with, in words.
        samples: What the figure was made of, drawn as a histogram.
    """

    device: str
    quantity: str
    value: float
    unit: str
    allowed: str = ""
    samples: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one test went."""

    test: str
    outcome: str
    duration_s: float
    reason: str = ""


@dataclass(slots=True, eq=False)
class RigReport:
    """Collects what a session finds out; a pytest plug-in.

    Run without ``-n``: workers keep their measurements to themselves.

    Attributes:
        rig: The rig file, or the emulators.
        path: Where to write the page; nowhere when ``None``.
        measurements: In the order they were taken.
        outcomes: In the order the tests ran.
    """

    rig: str
    path: Path | None = None
    measurements: list[Measurement] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep how one test went."""
        if report.when == "call" or report.outcome != "passed":
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.outcomes.append(
                Outcome(
                    test=report.nodeid.split("/")[-1],
                    outcome=report.outcome,
                    duration_s=report.duration,
                    reason=str(reason),
                )
            )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the page and say where."""
        if self.path is not None:
            self.write(self.path)
            terminalreporter.write_line(f"rig report: {self.path}")

    def write(self, path: Path) -> None:
        """Write the page."""
        template = files(__package__).joinpath("report.html").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        counts = {
            outcome: sum(each.outcome == outcome for each in self.outcomes)
            for outcome in ("passed", "failed", "skipped")
        }
        page = environment.from_string(template).render(
            rig=self.rig,
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            machine=f"{platform.node()}, {platform.platform()}, Python {platform.python_version()}",
            version=version("dexhil"),
            counts=counts,
            measurements=[(each, histogram(each.samples)) for each in self.measurements],
            outcomes=self.outcomes,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")


def histogram(samples: Sequence[float]) -> tuple[list[float], float, float]:
    """Return bar heights from 0 to 1, and the two ends of the axis. Empty for fewer than 8."""
    if len(samples) < 8:
        return [], 0.0, 0.0
    counts, edges = np.histogram(samples, bins=N_BINS)
    # The square root keeps a single straggler visible beside thousands.
    heights = np.sqrt(counts / counts.max())
    return heights.round(3).tolist(), float(edges[0]), float(edges[-1])
