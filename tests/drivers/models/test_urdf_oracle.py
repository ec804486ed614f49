"""Exported URDFs in pinocchio, which dex-retargeting reads its robots with."""

import numpy as np
import pinocchio
import pytest

from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.drivers.models.urdf import to_urdf
from dexhil.retarget.model import FingerModel

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("hand", HANDS)
def test_pinocchio_has_the_fingertips_where_we_have_them(hand: str, side: Side) -> None:
    kinematics = load_kinematics(hand, side)
    ours = FingerModel(kinematics)
    model = pinocchio.buildModelFromXML(to_urdf(kinematics))
    data = model.createData()
    low, high = kinematics.position_limits.T
    for angles in np.random.default_rng(0).uniform(low, high, (20, len(low))):
        named = dict(zip(kinematics.joint_names, angles, strict=True))
        theirs = np.zeros(model.nq)
        for joint in kinematics.joints:
            if joint.type == "revolute":
                driver, multiplier, offset = joint.mimic or (joint.name, 1.0, 0.0)
                index = model.joints[model.getJointId(joint.urdf_name)].idx_q
                theirs[index] = multiplier * named[driver] + offset
        pinocchio.forwardKinematics(model, data, theirs)
        pinocchio.updateFramePlacements(model, data)
        tips = [data.oMf[model.getFrameId(link)].translation for link in kinematics.tips.values()]
        np.testing.assert_allclose(ours.tips(angles), tips, atol=1e-9)
