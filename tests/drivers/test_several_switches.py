"""A pedal and a keyboard on one rig are one switch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dexhil.drivers.clock import SimClock
from dexhil.drivers.device import State
from dexhil.drivers.errors import ConnectError, FaultError
from dexhil.drivers.switch.several import SeveralSwitches
from dexhil.drivers.switch.sim import SimSwitch, SimSwitchConfig
from dexhil.integration.rig import build_rig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clock() -> SimClock:
    return SimClock()


@pytest.fixture
def pedal(clock: SimClock) -> SimSwitch:
    return SimSwitch(SimSwitchConfig(buttons=("takeover", "success")), name="pedal", clock=clock)


@pytest.fixture
def keys(clock: SimClock) -> SimSwitch:
    return SimSwitch(SimSwitchConfig(buttons=("start", "takeover")), name="keys", clock=clock)


@pytest.fixture
def both(pedal: SimSwitch, keys: SimSwitch, clock: SimClock) -> Iterator[SeveralSwitches]:
    both = SeveralSwitches([pedal, keys], name="both", clock=clock)
    yield both
    both.disconnect()


def test_it_has_every_button_once(both: SeveralSwitches) -> None:
    assert both.spec.buttons == ("takeover", "success", "start")


def test_presses_on_all_parts_count(
    both: SeveralSwitches, pedal: SimSwitch, keys: SimSwitch
) -> None:
    both.connect()
    pedal.press("takeover")
    keys.press("takeover")
    keys.release("takeover")
    keys.press("start")
    sample = both.observe()
    assert dict(sample.counts) == {"takeover": 2, "success": 0, "start": 1}
    assert sample.pressed == {"takeover", "start"}


def test_it_is_as_old_as_its_oldest_part(
    both: SeveralSwitches, keys: SimSwitch, clock: SimClock
) -> None:
    both.connect()
    both.observe()
    keys.faults.freeze()
    then_s = keys.observe().stamp_s
    clock.sleep(1.0)
    assert both.observe().stamp_s == then_s


def test_a_dead_part_is_a_fault_of_the_whole(both: SeveralSwitches, keys: SimSwitch) -> None:
    both.connect()
    keys.faults.unplug()
    with pytest.raises(FaultError, match="'keys'"):
        both.observe()


def test_if_one_part_does_not_connect_none_stays_connected(
    both: SeveralSwitches, pedal: SimSwitch, keys: SimSwitch
) -> None:
    keys.faults.unplug()
    with pytest.raises(ConnectError, match="'keys'"):
        both.connect(timeout_s=0.1)
    assert pedal.state is State.DISCONNECTED


def test_a_rig_may_name_several(tmp_path: Path) -> None:
    text = (ROOT / "rigs" / "sim_ur5e_leap.toml").read_text()
    path = tmp_path / "rig.toml"
    path.write_text(f'{text}\n[switch.keys]\ndriver = "sim"\nbuttons = ["redo"]\n')
    rig = build_rig(path, SimClock(), cameras=False)
    assert isinstance(rig.switch, SeveralSwitches)
    assert {"takeover", "redo"} <= set(rig.switch.spec.buttons)
    rig.disconnect()
    assert rig.world is not None
    rig.world.close()
