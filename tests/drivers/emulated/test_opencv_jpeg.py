"""The decoder of the OpenCV driver, which takes whole images only."""

import cv2
import numpy as np

from dexhil.drivers.camera.opencv import StrictJpeg
from dexhil.drivers.emulators.picture import pictures


def _jpeg() -> bytes:
    picture = pictures(320, 240, np.random.default_rng(1))[0]
    return bytes(cv2.imencode(".jpg", picture)[1])


def test_a_whole_image_is_decoded_as_opencv_does() -> None:
    jpeg = _jpeg()
    image = StrictJpeg().decode(jpeg)
    assert image is not None
    theirs = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(image.astype(int) - theirs).mean() < 4.0  # They smooth colours differently.
    np.testing.assert_allclose(image.mean(axis=(0, 1)), theirs.mean(axis=(0, 1)), atol=1.0)


def test_an_image_that_lacks_a_piece_is_refused() -> None:
    jpeg, decoder = _jpeg(), StrictJpeg()
    for cut in range(1500, len(jpeg) - 5000, 997):
        assert decoder.decode(jpeg[:cut]) is None
        assert decoder.decode(jpeg[:cut] + b"\xff\xd9") is None
        assert decoder.decode(jpeg[:cut] + jpeg[cut + 4000 :]) is None
    assert decoder.decode(jpeg) is not None


def test_anything_may_come_instead_of_an_image() -> None:
    rng, jpeg, decoder = np.random.default_rng(0), _jpeg(), StrictJpeg()
    for _ in range(200):
        decoder.decode(rng.bytes(int(rng.integers(0, 2000))))
        changed = bytearray(jpeg)
        changed[rng.integers(len(jpeg))] ^= 1 << rng.integers(8)
        decoder.decode(bytes(changed))
    assert decoder.decode(jpeg) is not None
