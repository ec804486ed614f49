"""What every hand must do, and what only the Trio does."""

from pathlib import Path

import pytest
from acme_hand.driver import TABLE, AcmeHand, AcmeHandConfig
from acme_hand.protocol import line, words

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import FaultError
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.registry import read_rig
from dexhil.drivers.testing import Emulated, HandConformance
from dexhil.drivers.testing.conformance import until_fault
from dexhil.retarget import HumanHand, Retargeter
from dexhil.retarget.human import POSTURES

RIG = Path(__file__).parents[1] / "rig.toml"


class TestAcme(Emulated, HandConformance):
    emulator = "acme"


def test_the_rig_file_names_this_hand() -> None:
    (entry,) = read_rig(RIG).devices
    assert isinstance(entry.build(), AcmeHand)


def test_a_hand_that_is_too_hot_is_a_fault_in_its_own_words() -> None:
    with EmulatorProcess("acme") as process:
        hand = AcmeHand(AcmeHandConfig(**process.options), name="right")
        with hand:
            process.tell("hot")
            with pytest.raises(FaultError, match="the hand reports: too hot"):
                until_fault(hand, hand.observe)


def test_a_persons_fist_bends_every_finger() -> None:
    retargeter, human = Retargeter(load_kinematics(TABLE)), HumanHand()

    def settled(posture: str) -> Vector:
        keypoints = human.keypoints(POSTURES[posture])
        return [retargeter.retarget(keypoints) for _ in range(30)][-1]

    bent = settled("fist") - settled("open")
    assert (bent.reshape(3, 2).sum(axis=1) > 1.0).all()


def test_lines_are_as_the_maker_prints_them() -> None:
    assert line(17, "?") == b"17 ?*19\n"
    assert words("17 OK 1 0 499*37") == ["17", "OK", "1", "0", "499"]
    assert words("17 OK 1 0 498*37") is None
