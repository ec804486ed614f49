"""Cameras of the simulated world."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dexhil.drivers.camera.sim import SimCamera, SimCameraConfig
from dexhil.drivers.clock import SimClock
from dexhil.drivers.errors import ConnectError, SimulationError
from dexhil.drivers.sim.world import World, WorldConfig


@pytest.fixture
def world() -> Iterator[World]:
    world = World(WorldConfig(arm="ur5e", hand="leap", scene="plush"), clock=SimClock())
    yield world
    world.close()


def yellow(image: np.ndarray) -> int:
    """How many pixels are the toy's."""
    red, green, blue = image.astype(int).transpose(2, 0, 1)
    return int(np.sum((red - blue > 90) & (green - blue > 40)))


@pytest.mark.parametrize("name", ["scene", "wrist"])
def test_the_picture_has_its_shape_and_shows_the_toy(world: World, name: str) -> None:
    camera = SimCamera(SimCameraConfig(width=128, height=96), name=name, world=world)
    with camera:
        there = camera.observe().image
    assert there.shape == (96, 128, 3)
    world.place("toy", np.array([0.0, 0.0, -5.0]), np.array([1.0, 0.0, 0.0, 0.0]))
    gone = world.render(name, 128, 96)
    assert yellow(there) > yellow(gone) + 20


def test_the_two_cameras_see_different_things(world: World) -> None:
    assert np.any(world.render("scene", 96, 96) != world.render("wrist", 96, 96))


def test_the_same_state_gives_the_same_picture(world: World) -> None:
    first = world.render("scene", 96, 96)
    world.reset()
    np.testing.assert_array_equal(world.render("scene", 96, 96), first)


def test_a_fresh_picture_comes_at_the_camera_s_rate(world: World) -> None:
    camera = SimCamera(SimCameraConfig(rate_hz=20.0), name="scene", world=world)
    stamps = []
    with camera:
        for _ in range(60):
            world.clock.sleep(1 / 60)
            stamps.append(camera.observe().stamp_s)
    assert len(set(stamps)) == 1 + 20  # One on connecting, 20 in the second after.


def test_any_thread_may_ask_for_pictures(world: World) -> None:
    expected = world.render("scene", 96, 96)
    with ThreadPoolExecutor(max_workers=3) as pool:
        pictures = list(pool.map(lambda _: world.render("scene", 96, 96), range(9)))
    for picture in pictures:
        np.testing.assert_array_equal(picture, expected)


def test_closing_twice_is_harmless_and_rendering_again_works() -> None:
    world = World(WorldConfig(arm="ur5e", hand="leap"), clock=SimClock())
    world.render("scene", 32, 32)
    world.close()
    world.close()
    assert world.render("scene", 32, 32).shape == (32, 32, 3)
    world.close()


def test_a_camera_or_size_that_does_not_exist_is_refused(world: World) -> None:
    camera = SimCamera(SimCameraConfig(camera="ceiling"), name="top", world=world)
    with pytest.raises(SimulationError, match=r"'ceiling'. Known: scene, wrist"):
        camera.connect()
    with pytest.raises(SimulationError, match="4000 x 3000 is too large"):
        world.render("scene", 4000, 3000)


def test_an_unplugged_camera_faults(world: World) -> None:
    camera = SimCamera(SimCameraConfig(), name="scene", world=world)
    camera.faults.unplug()
    with pytest.raises(ConnectError, match="unplugged"):
        camera.connect()


@pytest.mark.parametrize("broken", [{"MUJOCO_GL": "disable"}, {"PYOPENGL_PLATFORM": "glx"}])
def test_without_egl_one_sentence_says_what_to_do(broken: dict[str, str]) -> None:
    program = (
        "from dexhil.drivers.clock import SimClock\n"
        "from dexhil.drivers.errors import SimulationError\n"
        "from dexhil.drivers.sim.world import World, WorldConfig\n"
        "world = World(WorldConfig(arm='ur5e', hand='leap'), clock=SimClock())\n"
        "try:\n"
        "    world.render('scene', 32, 32)\n"
        "except SimulationError as error:\n"
        "    print(error)\n"
        "world.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **broken},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Cameras of the simulated world need EGL")
    assert "set MUJOCO_GL=egl" in done.stdout
