"""The tests for a bench, on emulators and on hands that only look real; and their report."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dexhil.drivers.hand import HandObservation, HandSpec
from dexhil.drivers.testing.example import ExampleHand
from dexhil.drivers.testing.report import Measurement, Outcome, RigReport, histogram

pytest_plugins = ["pytester"]
RIG = '[hand.one]\ndriver = "acme"\n'


class BenchHand(ExampleHand):
    """It says that moving it can hurt, and has no program that pulls its cable."""

    enabled = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._faults = self.faults
        del self.faults

    @property
    def spec(self) -> HandSpec:
        return replace(self._spec, simulated=False)

    def _open(self, timeout_s: float) -> None:
        self.faults = self._faults
        super()._open(timeout_s)
        del self.faults

    def _read(self) -> HandObservation:
        self._walk()
        return HandObservation(
            stamp_s=self._updated_s,
            joint_positions=self._positions,
            joint_velocities=self._velocities,
        )

    def _enable(self) -> None:
        type(self).enabled += 1
        self._hold()

    def _disable(self) -> None:
        self._hold()

    def _write(self, command: Any) -> None:
        self._walk()
        self._target = command.joint_positions
        self._commanded_s = self.clock.now_s()


class SleepyHand(BenchHand):
    """It gives a fresh sample ten times a second only."""

    def _read(self) -> HandObservation:
        sample = super()._read()
        return replace(sample, stamp_s=sample.stamp_s // 0.1 * 0.1)


class NumbHand(BenchHand):
    """It takes commands and does not move."""

    def _write(self, command: Any) -> None:
        del command


class DeafHand(BenchHand):
    """It does not notice that commands have stopped."""

    def _walk(self) -> None:
        self._commanded_s = self.clock.now_s()
        super()._walk()


@pytest.fixture(autouse=True)
def _never_enabled_yet() -> None:
    BenchHand.enabled = 0


Outcomes = tuple[int, int, int]


@pytest.fixture
def bench(pytester: pytest.Pytester, register: Any) -> Any:
    """Run the bench tests, conformance left out, on one hand: passed, skipped, failed."""

    def run(hand: type, *arguments: str) -> Outcomes:
        register("hand", "acme", hand)
        rig = pytester.makefile(".toml", rig=RIG)
        rest = ["--rig", str(rig), "-p", "no:cacheprovider", "--listen-s=0.5", "--soak-s=0.5"]
        chosen = ["-k", "TestStreams or TestMotion or TestCable or together"]
        result = pytester.inline_run("--pyargs", "dexhil.hil_tests", *chosen, *rest, *arguments)
        passed, skipped, failed = result.countoutcomes()
        return passed, skipped, failed

    return run


def test_a_good_hand_passes_and_only_cables_need_a_person(bench: Any) -> None:
    assert bench(BenchHand, "--allow-motion") == (4, 1, 0)
    assert BenchHand.enabled == 3


def test_without_the_flag_nothing_on_the_bench_is_enabled(bench: Any) -> None:
    assert bench(BenchHand) == (2, 3, 0)
    assert BenchHand.enabled == 0


@pytest.mark.parametrize(
    ("hand", "test"),
    [
        (SleepyHand, "keep_their_rate"),
        (NumbHand, "shows_soon"),
        (DeafHand, "silence_stops_it"),
    ],
)
def test_a_bad_hand_fails_where_it_is_bad(bench: Any, hand: type, test: str) -> None:
    assert bench(hand, "--allow-motion", "-k", test) == (0, 0, 1)


def test_a_forgotten_guard_fails_before_anything_on_the_rig_moves(
    pytester: pytest.Pytester, register: Any
) -> None:
    register("hand", "acme", BenchHand)
    rig = pytester.makefile(".toml", rig=RIG)
    file = pytester.makepyfile(
        """
        def test_moves_without_asking(rig_devices):
            rig_devices[0].connect()
            try:
                rig_devices[0].enable()
            finally:
                rig_devices[0].disconnect()
        """
    )
    result = pytester.inline_run(str(file), "--rig", str(rig), "-p", "no:cacheprovider")
    assert result.countoutcomes() == [0, 0, 1]
    assert BenchHand.enabled == 0


def test_a_person_is_asked_to_pull_the_cable(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class PatientHand(BenchHand):
        """Its cable is pulled by whoever reads the request."""

        def _read(self) -> HandObservation:
            if asked and "Pull" in asked[-1]:
                raise ConnectionError("no cable")
            return super()._read()

    def obey(request: str) -> str:
        asked.append(request)
        return ""

    monkeypatch.setattr("builtins.input", obey)
    assert bench(PatientHand, "--person", "-k", "TestCable") == (1, 0, 0)
    assert len(asked) == 6
    assert "Pull the cable of PatientHand 'one'" in asked[0]
    assert "Plug PatientHand 'one' in again" in asked[1]


def test_emulators_are_tested_by_name_and_the_report_is_kept(tmp_path: Path) -> None:
    report = tmp_path / "kept" / "report.html"
    command = [sys.executable, "-m", "pytest", "--pyargs", "dexhil.hil_tests", "-q"]
    command += ["-p", "no:cacheprovider", "--rig-report", str(report), "--emulate", "leap"]
    command += ["--listen-s", "0.5", "--soak-s", "0.5"]
    chosen = ["-k", "TestStreams or TestMotion or TestCable or together"]
    done = subprocess.run(
        [*command, *chosen], capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
    page = report.read_text()
    assert "leap (emulated)" in page
    for quantity in ("rate", "command to motion, median", "silence to standstill", "memory growth"):
        assert quantity in page, quantity
    assert "<svg" in page
    assert str(report) in done.stdout


def test_an_unknown_emulator_is_a_usage_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--emulate", "leep")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*emulator 'leep' ended*"])


def test_what_a_report_shows_is_what_was_found(tmp_path: Path) -> None:
    report = RigReport(rig="<my rig>")
    report.measurements.append(
        Measurement(device="d", quantity="q", value=12.345, unit="ms", samples=range(100))
    )
    report.outcomes += [
        Outcome(test="t::one", outcome="passed", duration_s=0.1),
        Outcome(test="t::two", outcome="failed", duration_s=0.2),
        Outcome(test="t::three", outcome="skipped", duration_s=0.0, reason="no & motion"),
    ]
    report.write(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "&lt;my rig&gt;" in page
    assert "12.35 ms" in page
    assert "no &amp; motion" in page
    assert re.findall(r"<b>(\d+)</b>(\w+)", page) == [
        ("1", "passed"),
        ("1", "failed"),
        ("1", "skipped"),
    ]


def test_a_histogram_shows_a_single_straggler() -> None:
    bars, low, high = histogram([1.0] * 1000 + [9.0])
    assert (low, high) == (1.0, 9.0)
    assert bars[0] == 1.0
    assert bars[-1] > 0.02
    assert histogram([1.0] * 7) == ([], 0.0, 0.0)
