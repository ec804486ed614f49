"""Pictures of the world, painted off screen."""

from concurrent.futures import ThreadPoolExecutor

import mujoco

from dexhil.drivers.arrays import Image
from dexhil.drivers.errors import SimulationError


class Painter:
    """Renders in one thread of its own, because an OpenGL context belongs to a thread."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="painter")
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}

    def paint(self, data: mujoco.MjData, camera: str, width: int, height: int) -> Image:
        """Return what ``camera`` sees. Shape (height, width, 3), RGB, uint8.

        Raises:
            SimulationError: There is no such camera, no EGL, or the picture is too large.
        """
        if mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_CAMERA, camera) < 0:
            known = [self._model.camera(i).name for i in range(self._model.ncam)]
            raise SimulationError(f"No camera is called {camera!r}. Known: {', '.join(known)}.")
        largest = self._model.vis.global_
        if width > largest.offwidth or height > largest.offheight:
            raise SimulationError(
                f"A picture of {width} x {height} is too large; "
                f"the scene allows {largest.offwidth} x {largest.offheight}."
            )
        return self._thread.submit(self._paint, data, camera, width, height).result()

    def close(self) -> None:
        """Free the contexts, in the thread that made them."""
        self._thread.submit(self._free).result()
        self._thread.shutdown()

    def _paint(self, data: mujoco.MjData, camera: str, width: int, height: int) -> Image:
        size = (width, height)
        if size not in self._renderers:
            self._renderers[size] = self._renderer(width, height)
        renderer = self._renderers[size]
        renderer.update_scene(data, camera)
        image: Image = renderer.render()
        return image

    def _renderer(self, width: int, height: int) -> mujoco.Renderer:
        try:
            return mujoco.Renderer(self._model, height=height, width=width)
        except Exception as error:
            raise SimulationError(
                f"Cameras of the simulated world need EGL, which does not work here ({error}). "
                "Install libegl1 (and a GPU driver or libgl1-mesa-dri), set MUJOCO_GL=egl, "
                "or leave the cameras out of the rig file."
            ) from error

    def _free(self) -> None:
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
