"""Pictures of one attempt, with who was driving drawn on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from dexhil.drivers.arrays import Image
from dexhil.teleop.takeover import Mode

BAND = 22  # Height of the mode band [pixel].
COLOURS = {Mode.HOLD: (120, 120, 120), Mode.POLICY: (38, 96, 188), Mode.HUMAN: (214, 106, 20)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture of a film.

    Attributes:
        time_s: Since the attempt began [s].
        mode: Who was driving.
        image: RGB. Shape (height, width, 3).
    """

    time_s: float
    mode: Mode
    image: Image


def titled(shot: Shot) -> Image:
    """Return the picture under a band that says who drives, and when."""
    height, width, _ = shot.image.shape
    canvas = Picture.new("RGB", (width, height + BAND), COLOURS[shot.mode])
    canvas.paste(Picture.fromarray(shot.image), (0, BAND))
    text = f"{shot.mode.name}   {shot.time_s:4.1f} s"
    ImageDraw.Draw(canvas).text((6, 3), text, fill="white", font=ImageFont.load_default(14))
    return np.asarray(canvas)


def save_film(shots: Sequence[Shot], path: Path, fps: int) -> None:
    """Write the shots as an mp4 that browsers play."""
    frames = [titled(shot) for shot in shots]
    height, width, _ = frames[0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = (
            width - width % 2,
            height - height % 2,
            "yuv420p",
        )
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image[: stream.height, : stream.width], "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def save_filmstrip(shots: Sequence[Shot], path: Path, *, columns: int = 5, rows: int = 2) -> None:
    """Write a sheet of pictures, evenly spaced, with the first human one always among them."""
    count = min(columns * rows, len(shots))
    chosen = {int(i) for i in np.linspace(0, len(shots) - 1, count)}
    first_human = next((i for i, shot in enumerate(shots) if shot.mode is Mode.HUMAN), None)
    if first_human is not None and first_human not in chosen:
        nearest = min(chosen - {0, len(shots) - 1}, key=lambda i: abs(i - first_human))
        chosen = chosen - {nearest} | {first_human}
    frames = [titled(shots[i]) for i in sorted(chosen)]
    blank = np.full_like(frames[0], 255)
    frames += [blank] * (-len(frames) % columns)
    strips = [np.hstack(frames[i : i + columns]) for i in range(0, len(frames), columns)]
    Picture.fromarray(np.vstack(strips)).save(path)
