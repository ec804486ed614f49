"""A camera in the simulated world."""

from dataclasses import dataclass

from dexhil.drivers.camera.camera import Camera, CameraObservation, CameraSpec
from dexhil.drivers.clock import Clock
from dexhil.drivers.faults import Faults
from dexhil.drivers.sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class SimCameraConfig:
    """Which camera of the scene to be.

    Attributes:
        camera: Its name in the scene: ``"scene"`` or ``"wrist"``. The device's own name when empty.
        width: Of the image [pixel].
        height: Of the image [pixel].
        rate_hz: How often a fresh image is painted [1/s].
    """

    camera: str = ""
    width: int = 96
    height: int = 96
    rate_hz: float = 20.0


class SimCamera(Camera):
    """Paints the world, at most ``rate_hz`` times a second. Its faults are in ``faults``."""

    config_type = SimCameraConfig
    in_world = True

    def __init__(
        self, config: SimCameraConfig, *, name: str, world: World, clock: Clock | None = None
    ) -> None:
        super().__init__(name=name, clock=clock or world.clock)
        self.faults: Faults[CameraObservation] = Faults("image")
        self._camera = config.camera or name
        self._world = world
        self._newest: CameraObservation | None = None
        self._spec = CameraSpec(
            model=f"sim-{self._camera}",
            width=config.width,
            height=config.height,
            rate_hz=config.rate_hz,
            simulated=True,
        )

    @property
    def spec(self) -> CameraSpec:
        return self._spec

    def _open(self, timeout_s: float) -> None:
        del timeout_s  # It answers at once.
        self.faults.require_link()
        self._newest = None

    def _close(self) -> None:
        self._newest = None

    def _read(self) -> CameraObservation:
        return self.faults.apply(self._fresh())

    def _fresh(self) -> CameraObservation:
        now_s = self.clock.now_s()
        newest = self._newest
        # A tenth of a period forgives a caller that comes a little early.
        if newest is None or now_s - newest.stamp_s > 0.9 / self._spec.rate_hz:
            image = self._world.render(self._camera, self._spec.width, self._spec.height)
            newest = self._newest = CameraObservation(stamp_s=now_s, image=image)
        return newest
