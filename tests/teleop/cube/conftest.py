"""A small camera that looks at a rendered cube."""

from collections.abc import Iterator

import numpy as np
import pytest

from dexhil.drivers.sim.cube_stage import CubeStage
from dexhil.teleop.cube import CubeModel, Intrinsics

MODEL = CubeModel.nominal()
CAMERA = Intrinsics(
    width=640,
    height=480,
    matrix=np.array([[640.0, 0.0, 322.3], [0.0, 639.0, 238.1], [0.0, 0.0, 1.0]]),
    distortion=np.array([-0.055, 0.065, 0.0005, -0.0003, -0.02]),
)


@pytest.fixture(scope="session")
def cube_model() -> CubeModel:
    return MODEL


@pytest.fixture(scope="session")
def camera() -> Intrinsics:
    return CAMERA


@pytest.fixture(scope="session")
def stage() -> Iterator[CubeStage]:
    stage = CubeStage(
        dictionary=MODEL.dictionary,
        marker_ids=MODEL.marker_ids,
        corners_in_cube=MODEL.corners_in_cube,
        edge_m=MODEL.edge_m,
        matrix=CAMERA.matrix,
        distortion=CAMERA.distortion,
        width=CAMERA.width,
        height=CAMERA.height,
    )
    stage.picture([], samples=1)  # Its thread begins here, and not in a test.
    yield stage
    stage.close()
