"""Real devices move only by marker and flag; a rig file that is wrong stops everything."""

from dataclasses import replace
from typing import Any

import pytest

from dexhil.drivers.clock import MonotonicClock, SimClock
from dexhil.drivers.glove.sim import SimGlove
from dexhil.drivers.hand import HandSpec
from dexhil.drivers.testing.example import ExampleHand

pytest_plugins = ["pytester"]
RunSuite = Any  # See conftest.py.


class RealHand(ExampleHand):
    """It says that moving it can hurt. It waits on a simulated clock to spare the tests' time."""

    enabled = 0

    @property
    def spec(self) -> HandSpec:
        self.clock = SimClock() if isinstance(self.clock, MonotonicClock) else self.clock
        return replace(self._spec, simulated=False)

    def _enable(self) -> None:
        super()._enable()
        type(self).enabled += 1


@pytest.fixture(autouse=True)
def _never_enabled_yet() -> None:
    RealHand.enabled = 0


def test_without_the_flag_a_real_device_is_looked_at_and_never_enabled(run_suite: RunSuite) -> None:
    outcomes = run_suite(RealHand)
    assert outcomes.failed == 0
    assert outcomes.passed > 15
    assert outcomes.skipped > 10
    assert RealHand.enabled == 0


def test_with_the_flag_a_real_device_moves(run_suite: RunSuite) -> None:
    outcomes = run_suite(RealHand, "--allow-motion", "-k", "goes_where_it_is_told")
    assert (outcomes.passed, outcomes.skipped, outcomes.failed) == (1, 0, 0)
    assert RealHand.enabled == 1


def run_against_acme(
    pytester: pytest.Pytester, test: str, rig: str = '[hand.one]\ndriver = "acme"\n'
) -> tuple[int, int, int]:
    path = pytester.makefile(".toml", rig=rig)
    file = pytester.makepyfile(test)
    result = pytester.inline_run(str(file), "--rig", str(path), "-p", "no:cacheprovider")
    passed, skipped, failed = result.countoutcomes()
    return passed, skipped, failed


def test_a_forgotten_marker_fails_instead_of_moving(
    pytester: pytest.Pytester, register: Any
) -> None:
    register("hand", "acme", RealHand)
    outcomes = run_against_acme(
        pytester,
        """
        class TestAcme:
            kind = "hand"

            def test_that_forgot_its_marker(self, connected):
                connected.enable()
        """,
    )
    assert outcomes == (0, 0, 1)
    assert RealHand.enabled == 0


def test_a_hidden_fault_fails_the_test_that_ends_with_it(
    pytester: pytest.Pytester, register: Any
) -> None:
    register("glove", "acme", SimGlove)
    passed, skipped, failed = run_against_acme(
        pytester,
        """
        import pytest
        from dexhil.drivers.errors import FaultError

        class TestAcme:
            kind = "glove"

            def test_that_hides_a_fault(self, connected):
                connected.faults.unplug()
                with pytest.raises(FaultError):
                    connected.observe()
        """,
        '[glove.one]\ndriver = "acme"\n',
    )
    assert (passed, skipped, failed) == (1, 0, 1)  # Passed when called, failed at teardown.


def test_suites_of_kinds_that_the_rig_lacks_are_left_out(
    pytester: pytest.Pytester, register: Any
) -> None:
    register("glove", "acme", SimGlove)
    outcomes = run_against_acme(
        pytester,
        "from dexhil.drivers.testing import HandConformance\n\nclass TestHands(HandConformance):\n"
        "    pass\n\ndef test_other():\n    pass\n",
        '[glove.one]\ndriver = "acme"\n',
    )
    assert outcomes == (1, 0, 0)


def test_a_missing_rig_file_stops_everything(pytester: pytest.Pytester) -> None:
    test = pytester.makepyfile(
        "from dexhil.drivers.testing import HandConformance\n\nclass TestHands(HandConformance):\n"
        "    pass\n"
    )
    result = pytester.runpytest_inprocess(str(test), "--rig", "nowhere.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*nowhere.toml: cannot read the rig file*"])


def test_outsiders_can_run_the_shipped_suites_by_name(
    pytester: pytest.Pytester, register: Any
) -> None:
    register("glove", "acme", SimGlove)
    rig = pytester.makefile(".toml", rig='[glove.one]\ndriver = "acme"\n')
    arguments = ["--pyargs", "dexhil.hil_tests", "--rig", str(rig), "-p", "no:cacheprovider"]
    passed, skipped, failed = pytester.inline_run(*arguments).countoutcomes()
    assert (skipped, failed) == (0, 0)
    assert passed > 15
