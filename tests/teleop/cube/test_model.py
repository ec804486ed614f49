"""What a cube and a camera are, and their files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.teleop.cube import CubeModel, Intrinsics
from dexhil.teleop.cube.model import FACES
from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import exp_rotation, make_pose

AXES = {"x": 0, "y": 1, "z": 2}
X = make_pose((0.01, -0.02, -0.09), exp_rotation((0.3, 1.0, -2.0)))


@settings(max_examples=30)
@given(
    edge_m=st.floats(0.02, 0.3),
    share=st.floats(0.3, 0.9),
    faces=st.sampled_from((5, 6)),
    first_id=st.integers(0, 40),
)
def test_every_marker_lies_in_the_face_that_it_is_named_after(
    edge_m: float, share: float, faces: int, first_id: int
) -> None:
    model = CubeModel.nominal(edge_m, share * edge_m, first_id, faces=faces)  # type: ignore[arg-type]
    assert model.marker_ids == tuple(range(first_id, first_id + faces))
    for name, corners in zip(FACES, model.corners_in_cube, strict=False):
        sign, axis = (1.0 if name[0] == "+" else -1.0), AXES[name[1]]
        np.testing.assert_allclose(corners[:, axis], 0.5 * sign * edge_m, atol=1e-12)
        np.testing.assert_allclose(np.delete(corners.mean(axis=0), axis), 0.0, atol=1e-12)
        sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
        np.testing.assert_allclose(sides, model.marker_m)


def test_the_corners_go_clockwise_as_seen_from_outside() -> None:
    for corners in CubeModel.nominal().corners_in_cube:
        right, down = corners[1] - corners[0], corners[3] - corners[0]
        assert np.cross(right, down) @ corners.mean(axis=0) < 0


def test_the_sides_stand_upright_and_in_order() -> None:
    corners = CubeModel.nominal().corners_in_cube[:4]
    np.testing.assert_allclose(corners[:, 0, 2], 0.0225)  # Top left is up.
    middles = corners.mean(axis=1)
    # Seen from outside, the next face is to the right.
    for i in range(4):
        right = corners[i, 1] - corners[i, 0]
        assert right @ middles[(i + 1) % 4] > 0


@pytest.mark.parametrize("faces", [5, 6])
def test_a_cube_comes_back_from_its_file(tmp_path: Path, faces: int) -> None:
    nominal = CubeModel.nominal(0.05, 0.04, 7, "DICT_5X5_100", faces=faces)  # type: ignore[arg-type]
    model = replace(nominal, pose_hand_in_cube=X)
    model.save(tmp_path / "a" / "cube.toml", ["folded on a Monday"])
    back = CubeModel.load(tmp_path / "a" / "cube.toml")
    assert back.dictionary == model.dictionary
    assert (back.edge_m, back.marker_m, back.marker_ids) == (0.05, 0.04, model.marker_ids)
    np.testing.assert_allclose(back.corners_in_cube, model.corners_in_cube, atol=1e-9)
    np.testing.assert_allclose(back.pose_hand_in_cube, X, atol=1e-12)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["cube.toml"]


def test_a_camera_comes_back_from_its_file(tmp_path: Path) -> None:
    nominal = Intrinsics.nominal(640, 480, 1.1)
    camera = replace(nominal, distortion=np.array([0.1, -0.2, 0.001, 0.0, 0.05]), rms_px=0.21)
    camera.save(tmp_path / "camera.toml")
    back = Intrinsics.load(tmp_path / "camera.toml")
    assert (back.width, back.height, back.rms_px) == (640, 480, 0.21)
    np.testing.assert_allclose(back.matrix, camera.matrix, atol=1e-8)
    np.testing.assert_allclose(back.distortion, camera.distortion, atol=1e-12)


def test_the_nominal_camera_sees_as_wide_as_it_says() -> None:
    camera = Intrinsics.nominal()
    assert camera.matrix[0, 0] == pytest.approx(640.0)
    # The middle of the image lies between its two middle pixels.
    assert camera.matrix[0, 2] == 639.5
    assert np.isnan(camera.rms_px)


def test_arrays_cannot_be_changed_behind_its_back() -> None:
    with pytest.raises(ValueError, match="read-only"):
        CubeModel.nominal().corners_in_cube[0, 0, 0] = 1.0


NOMINAL = CubeModel.nominal()
CAMERA = Intrinsics.nominal()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"marker_m": 0.06}, "Markers must be smaller"),
        ({"edge_m": 60.0}, "smaller than 1 m"),
        ({"marker_ids": (0, 1, 2, 3, 4, 4)}, "5 or 6 different"),
        ({"marker_ids": (0, 1, 2)}, "5 or 6 different"),
        ({"marker_ids": (-1, 0, 1, 2, 3, 4)}, "5 or 6 different"),
        ({"corners_in_cube": np.zeros((6, 4, 2))}, "shape"),
        ({"corners_in_cube": np.full((6, 4, 3), np.nan)}, "finite"),
        ({"corners_in_cube": 1.2 * NOMINAL.corners_in_cube}, "54.0 to 54.0 mm apart"),
        ({"corners_in_cube": NOMINAL.corners_in_cube[:, ::-1]}, "the other way"),
        ({"pose_hand_in_cube": np.diag([1.0, 1.0, -1.0, 1.0])}, "no rigid motion"),
        ({"pose_hand_in_cube": 2 * np.eye(4)}, "no rigid motion"),
        ({"pose_hand_in_cube": np.eye(3)}, "no rigid motion"),
    ],
)
def test_what_is_no_cube_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(CubeError, match=message):
        replace(NOMINAL, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "must be above 0"),
        ({"matrix": np.eye(4)}, "three finite rows"),
        ({"matrix": -CAMERA.matrix}, "above 0"),
        ({"matrix": CAMERA.matrix.T}, "must be"),
        ({"distortion": np.zeros(3)}, "OpenCV's models have"),
        ({"distortion": np.full(5, np.nan)}, "not finite"),
    ],
)
def test_what_is_no_camera_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(CubeError, match=message):
        replace(CAMERA, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("format = 1", "format = 2"), "format 1"),
        (("edge_m", "edge_mm"), "Did you mean 'edge_m'"),
        (("marker_m = 0.045", "marker_m = 'a'"), "marker_m"),
        (("marker_m = 0.045", "marker_m = 0.07"), "Markers must be smaller"),
        (("= [", "= ["[:3]), "not a TOML file"),
    ],
)
def test_a_damaged_file_says_what_is_wrong_and_where(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = tmp_path / "cube.toml"
    NOMINAL.save(path)
    text = path.read_text()
    path.write_text(text.replace(*change, 1) if change[0] != "= [" else text[:200])
    with pytest.raises(CubeError, match=message) as caught:
        CubeModel.load(path)
    assert "cube.toml" in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CubeError, match=r"camera\.toml: cannot read the intrinsics file"):
        Intrinsics.load(tmp_path / "camera.toml")


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CubeError, match="cannot be written"):
        NOMINAL.save(tmp_path / "file" / "cube.toml")
