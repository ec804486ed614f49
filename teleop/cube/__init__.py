"""The ArUco cube on the wearer's hand: its geometry, its pose in an image, its calibration.

``model`` and ``intrinsics`` need numpy alone. The others look at images with OpenCV, which is
the extra ``aruco``.
"""

from dexhil.teleop.cube.intrinsics import Intrinsics
from dexhil.teleop.cube.model import CubeModel

__all__ = ["CubeModel", "Intrinsics"]
