"""`dexhil cube`: from a sheet of paper to a calibrated hand, on painted pictures."""

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from rich.console import Console
from rich.table import Table

from dexhil.drivers.camera import Lens
from dexhil.drivers.camera.opencv import OpencvCamera
from dexhil.drivers.clock import SimClock
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.emulators.cube_picture import CAMERA, CubePainter
from dexhil.drivers.registry import read_rig
from dexhil.integration import cli
from dexhil.integration.cube import calibrate
from dexhil.integration.cube.sources import camera_entry
from dexhil.integration.emulation import rig_table
from dexhil.teleop.cube import CubeModel, Intrinsics
from dexhil.teleop.cube.charuco import Board
from dexhil.teleop.se3 import Pose, distance, exp_rotation, inverse, make_pose

Images = list[NDArray[np.uint8]]
GUIDE = Path(__file__).parents[2] / "docs" / "cube.md"
CUBE_IN_PALM = make_pose(
    (-0.05, 0.005, 0.06), exp_rotation((0, -np.pi / 2, 0)) @ exp_rotation((0.2, 0.1, 0.7))
)
# The cube's z upwards in the picture, its x to the camera.
UPRIGHT = np.array([(0.0, 1, 0), (0, 0, -1), (-1, 0, 0)])
# The back of the hand looks at the camera, the fingers point to the right of the image.
FOREARM = make_pose((-0.05, 0.04, 0.4), np.array([(0.0, 0, 1), (0, -1, 0), (1, 0, 0)]))


def works(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    assert stop.value.code == 0


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    assert stop.value.code == 1
    return " ".join(capsys.readouterr().err.split())


def _save(images: Images, folder: Path) -> None:
    folder.mkdir()
    for number, image in enumerate(images):
        Pillow.fromarray(image).save(folder / f"{number:03}.bmp")


def _carelessly_folded(cube: CubeModel, rng: np.random.Generator) -> CubeModel:
    faces = []
    for corners in cube.corners_in_cube:
        middle, turn, shift = corners.mean(axis=0), rng.normal(size=3), rng.normal(size=3)
        turn, shift = turn / np.linalg.norm(turn), shift / np.linalg.norm(shift)
        turned = (corners - middle) @ exp_rotation(np.deg2rad(0.5) * turn).T
        faces.append(turned + middle + 5e-4 * shift)
    return replace(cube, corners_in_cube=np.array(faces))


def _turned(n: int, rng: np.random.Generator) -> list[Pose]:
    """Return poses that show an edge or a corner each, all round the cube."""
    poses = []
    for number in range(n):
        around = exp_rotation((0, 0, np.pi / 4 + number * np.pi / 2 + rng.normal(0.0, 0.15)))
        tip = exp_rotation((0.3 + 0.5 * (number // 4 % 2), 0, rng.normal(0.0, 0.3)))
        place = (rng.uniform(-0.04, 0.04), rng.uniform(-0.03, 0.03), rng.uniform(0.2, 0.26))
        poses.append(make_pose(place, tip @ UPRIGHT @ around))
    return poses


def _swing(axis: tuple[float, float, float], reach: float, n: int = 30) -> list[Pose]:
    angles = reach * (0.5 - 0.5 * np.cos(np.linspace(0.0, 2 * np.pi, n)))
    return [
        FOREARM @ make_pose(rotation=exp_rotation(angle * np.array(axis))) @ CUBE_IN_PALM
        for angle in angles
    ]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CubeModel]:
    """A folder with a printed cube, its camera and pictures of it; and how it was folded."""
    folder, rng = tmp_path_factory.mktemp("bench"), np.random.default_rng(0)
    works("cube", "print", folder / "cube.pdf", "--faces", 5)
    Intrinsics.load(CAMERA).save(folder / "camera.toml")
    true = _carelessly_folded(CubeModel.load(folder / "cube.toml"), rng)
    painter = replace(CubePainter.read(), corners=true.corners_in_cube)
    for name, poses in (
        ("faces", _turned(32, rng)),
        ("flexion", _swing((0, 1, 0), 0.8)),
        ("deviation", _swing((1, 0, 0), 0.45)),
    ):
        _save([painter.paint(pose, rng) for pose in poses], folder / name)
    return folder, true


@pytest.fixture
def at_the_bench(bench: tuple[Path, CubeModel], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(bench[0])
    return bench[0]


def test_print_writes_a_sheet_and_the_cube_that_it_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "my.pdf"
    works("cube", "print", sheet, "--edge-mm", 50, "--faces", 5, "--paper", "letter")
    assert sheet.read_bytes().startswith(b"%PDF")
    cube = CubeModel.load(tmp_path / "my.toml")
    assert (cube.edge_m, cube.marker_m, cube.n_faces) == (0.05, 0.0375, 5)
    assert "is there already" in fails(capsys, "cube", "print", sheet)
    said = fails(capsys, "cube", "print", tmp_path / "big.pdf", "--edge-mm", 90)
    assert "CubeError" in said
    assert "the largest for a4 paper has" in said
    assert not (tmp_path / "big.toml").exists()


def test_a_careless_cube_and_the_hand_are_found(
    bench: tuple[Path, CubeModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, true = bench
    out = tmp_path / "calibrated.toml"
    works(
        "cube", "calibrate", "--cube", folder / "cube.toml",
        "--intrinsics", folder / "camera.toml", "--faces", folder / "faces",
        "--flexion", folder / "flexion", "--deviation", folder / "deviation", "--out", out,
    )  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert "5.0 cm behind the right palm" in said
    assert "rms over" in said
    found = CubeModel.load(out)
    # Distances between all corners, which do not depend on where the cube frame was put.
    before = _spread(CubeModel.load(folder / "cube.toml"), true)
    assert _spread(found, true) < 0.25 * before
    metres, radians = distance(found.pose_hand_in_cube, inverse(CUBE_IN_PALM))
    assert metres < 0.002
    assert np.rad2deg(radians) < 1.5
    assert "By dexhil cube calibrate" in out.read_text()


def _spread(a: CubeModel, b: CubeModel) -> float:
    apart = [
        np.linalg.norm(points[:, None] - points[None], axis=2)
        for points in (each.corners_in_cube.reshape(-1, 3) for each in (a, b))
    ]
    return float(np.sqrt(np.mean((apart[0] - apart[1]) ** 2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Say what to calibrate: --faces, or --flexion and --deviation"),
        (("--flexion", "flexion"), "The palm needs both swings"),
        (("--faces", "none.mp4"), "there is no such file or folder"),
        (("--faces", "cube.pdf"), "is not a video"),
        (("--faces", "."), "holds no pictures"),
        (("--faces", "flexion"), "Turn the cube so that every edge faces the camera"),
        (("--faces", "faces", "--ruler-mm", 80), "The ruler of 100 mm measures 80.0 mm"),
        (("--flexion", "a", "--deviation", "b", "--ruler-mm", 99), "must be found anew"),
        (("--faces", "nowhere"), "No camera driver is called 'nowhere'"),
    ],
)
def test_what_cannot_be_calibrated_says_why_and_writes_nothing(
    at_the_bench: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[object, ...],
    message: str,
) -> None:
    out = at_the_bench / "out.toml"
    said = fails(
        capsys, "cube", "calibrate", "--cube", "cube.toml", "--intrinsics", "camera.toml",
        "--out", out, *arguments,
    )  # fmt: skip
    assert message in said
    assert not out.exists()


def test_faces_that_were_found_are_kept_when_the_swings_are_refused(
    bench: tuple[Path, CubeModel],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, true = bench
    found = SimpleNamespace(model=true, n_frames=32, rms_px=0.1)
    monkeypatch.setattr(calibrate._Looking, "faces", lambda *_: found)
    monkeypatch.setattr(calibrate, "_faces_report", lambda _: Table())
    out = tmp_path / "calibrated.toml"
    said = fails(
        capsys, "cube", "calibrate", "--cube", folder / "cube.toml", "--intrinsics",
        folder / "camera.toml", "--faces", "turn", "--flexion", "none.mp4", "--deviation", "b",
        "--out", out,
    )  # fmt: skip
    assert "none.mp4: there is no such file" in said
    kept = CubeModel.load(out)
    np.testing.assert_allclose(kept.corners_in_cube, true.corners_in_cube, atol=1e-8)
    assert not kept.palm_known


def _looks(monkeypatch: pytest.MonkeyPatch, source: str, *, attended: bool) -> tuple[str, float]:
    """Return what is said before a source is opened, and how long that takes by the clock [s]."""
    clock, output = SimClock(), StringIO()
    start_s, opened_s = clock.now_s(), []

    def opened(*_: object) -> list[SimpleNamespace]:
        opened_s.append(clock.now_s() - start_s)
        return [SimpleNamespace(image=np.zeros((2, 3, 3), np.uint8), stamp_s=0.0)]

    def answered(_: object = "") -> str:
        output.write("<Enter>")
        return ""

    monkeypatch.setattr(calibrate, "pictures", opened)
    monkeypatch.setattr(calibrate, "_attended", lambda: attended)
    monkeypatch.setattr("builtins.input", answered)
    looking = calibrate._Looking(5.0, Console(file=output, width=200), clock)
    looking.at(source, "Bend the hand.", lambda image: image)
    return output.getvalue(), opened_s[0]


def test_a_camera_is_opened_once_somebody_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    said, after_s = _looks(monkeypatch, "opencv", attended=True)
    assert re.search(r"Bend the hand\. 5 s\.\s+Press Enter.*<Enter>3 \.\.\.\s+2.*\s+1", said)
    assert after_s == pytest.approx(3.0)


def test_nobody_is_waited_for_who_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert _looks(monkeypatch, "opencv", attended=False) == ("Bend the hand. 5 s.\n", 0.0)
    assert _looks(monkeypatch, str(tmp_path), attended=True) == ("", 0.0)


def test_the_guide_looks_through_the_same_camera_everywhere(tmp_path: Path) -> None:
    (table,) = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    rig = tmp_path / "rig.toml"
    rig.write_text(table, encoding="utf-8")
    entry = camera_entry(str(rig))
    assert (entry.options["width"], entry.folder) == (1280, tmp_path)
    (tracker,) = read_rig(rig).devices
    tracker.build()
    (commands,) = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    for source in ("intrinsics", "--faces", "--flexion", "--deviation", "show"):
        assert f"{source} rig.toml" in commands


def test_a_calibrated_cube_is_not_scaled_a_second_time(
    bench: tuple[Path, CubeModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, true = bench
    true.save(tmp_path / "calibrated.toml")
    said = fails(
        capsys, "cube", "calibrate", "--cube", tmp_path / "calibrated.toml",
        "--intrinsics", folder / "camera.toml", "--faces", folder / "faces",
        "--ruler-mm", 99, "--out", tmp_path / "out.toml",
    )  # fmt: skip
    assert "is calibrated already, and its size with it" in said


def test_images_of_another_size_than_the_intrinsics_are_refused(
    bench: tuple[Path, CubeModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = bench
    Intrinsics.nominal(320, 240).save(tmp_path / "small.toml")
    for source in ("--faces", folder / "faces"), ("--flexion", folder / "flexion"):
        more = ("--deviation", folder / "deviation") if source[0] == "--flexion" else ()
        said = fails(
            capsys, "cube", "calibrate", "--cube", folder / "cube.toml",
            "--intrinsics", tmp_path / "small.toml", "--out", tmp_path / "x.toml", *source, *more,
        )  # fmt: skip
        assert "640 x 480 pixels" in said
        assert "320 x 240" in said


def test_show_tells_where_the_cube_is_and_draws_it(
    bench: tuple[Path, CubeModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, true = bench
    cube = tmp_path / "cube.toml"
    replace(true, pose_hand_in_cube=inverse(CUBE_IN_PALM)).save(cube)
    paths = sorted((folder / "flexion").iterdir())[:12]
    images = [np.asarray(Pillow.open(path)) for path in paths]
    images[5:8] = [np.full_like(images[0], 90)] * 3
    video = tmp_path / "video.mp4"
    _film(images, video)
    out = tmp_path / "seen" / "overlay.png"
    works(
        "cube", "show", video, "--cube", cube, "--intrinsics", folder / "camera.toml",
        "--out", out,
    )  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert "12 images, 30.0 per second. The cube was seen in 9 of them (75%)" in said
    assert "No marker of the cube is in sight" in said
    assert "Image noise alone leaves" in said
    assert "not calibrated" not in said
    seen = np.asarray(Pillow.open(out)).astype(int)
    assert seen.shape == images[0].shape
    # Axes in red, green and blue, which nothing else here is.
    for channel in range(3):
        others = np.delete(seen, channel, axis=2).max(axis=2)
        assert ((seen[..., channel] - others) > 60).sum() > 20


def test_show_of_no_cube_is_an_error(
    bench: tuple[Path, CubeModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = bench
    _save([np.full((480, 640, 3), 90 + i, np.uint8) for i in range(3)], tmp_path / "grey")
    said = fails(
        capsys, "cube", "show", tmp_path / "grey", "--cube", folder / "cube.toml",
        "--intrinsics", folder / "camera.toml", "--out", tmp_path / "overlay.png",
    )  # fmt: skip
    assert "the cube was never seen" in said
    assert not (tmp_path / "overlay.png").exists()


def test_a_camera_at_work_is_followed_and_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, out = tmp_path / "rig.toml", tmp_path / "camera.toml"
    asked = ("cube", "intrinsics", rig, "--factory", "--out", out)
    with EmulatorProcess("aruco") as process:
        rig.write_text(rig_table(process))
        options = process.options
        works(
            "cube", "show", rig, "--cube", options["cube"],
            "--intrinsics", options["intrinsics"], "--seconds", 0.7,
        )  # fmt: skip
        said = capsys.readouterr().out
        assert "markers" in said
        assert "The cube was seen in" in said
        assert "not calibrated: expect millimetres" in " ".join(said.split())
        assert "does not know its own projection" in fails(capsys, *asked)
        lens = Lens(matrix=Intrinsics.nominal(640, 480).matrix, distortion=np.full(5, 0.01))
        monkeypatch.setattr(OpencvCamera, "lens", lambda _: lens)
        works(*asked)
    camera = Intrinsics.load(out)
    assert (camera.width, camera.height) == (640, 480)
    np.testing.assert_allclose(camera.matrix, lens.matrix, atol=1e-8)
    np.testing.assert_allclose(camera.distortion, lens.distortion)


def test_a_rig_with_several_cameras_does_not_say_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text("[camera.a]\ndriver = 'opencv'\n[camera.b]\ndriver = 'opencv'\n")
    said = fails(capsys, "cube", "intrinsics", rig, "--out", tmp_path / "camera.toml")
    assert "0 trackers with a camera and 2 [camera.NAME] tables" in said


def test_a_camera_is_calibrated_from_pictures_of_the_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    works("cube", "print", tmp_path / "board.pdf", "--board")
    assert not (tmp_path / "board.toml").exists()
    rng, true = np.random.default_rng(0), Intrinsics.load(CAMERA)
    _save([_board_picture(rng, true) for _ in range(22)], tmp_path / "board")
    out = tmp_path / "camera.toml"
    works("cube", "intrinsics", tmp_path / "board", "--out", out)
    assert "pixels rms" in capsys.readouterr().out
    found = Intrinsics.load(out)
    assert found.matrix[0, 0] == pytest.approx(true.matrix[0, 0], rel=0.01)
    assert found.rms_px < 0.4
    said = fails(capsys, "cube", "intrinsics", tmp_path / "board", "--out", out, "--square-mm", 0)
    assert "squares between 0 and 1000 mm" in said


def _board_picture(rng: np.random.Generator, lens: Intrinsics) -> NDArray[np.uint8]:
    board = Board()
    cells = np.where(board.cells(), 25, 230).astype(np.uint8)
    picture = np.kron(cells, np.ones((8, 8), np.uint8))
    z = rng.uniform(0.22, 0.4)
    turn = exp_rotation(rng.uniform(-0.6, 0.6, 3))
    size = board.square_m * np.array([board.columns, board.rows])
    place = np.array([rng.uniform(-0.4, 0.4) * z, rng.uniform(-0.3, 0.3) * z, z])
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    points = np.column_stack([corners * size - 0.5 * size, np.zeros(4)]) @ turn.T + place
    pixels = points @ lens.matrix.T
    pixels = 2 * (pixels[:, :2] / pixels[:, 2:] + 0.5) - 0.5
    flat = corners * picture.shape[::-1] - 0.5
    warp = cv2.getPerspectiveTransform(flat.astype(np.float32), pixels.astype(np.float32))
    double = (2 * lens.width, 2 * lens.height)
    seen = cv2.resize(
        cv2.warpPerspective(picture, warp, double, borderValue=120),
        (lens.width, lens.height),
        interpolation=cv2.INTER_AREA,
    )
    return np.repeat(seen[..., None], 3, axis=2)


def _film(images: Images, path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
