"""What openpi's own code says, draws and understands, ours does too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexhil.policy.errors import LostError
from dexhil.policy.remote import RemotePolicy
from dexhil.policy.remote.config import Entry, RemoteConfig
from dexhil.policy.remote.packing import pack, unpack
from dexhil.policy.remote.translation import picture
from tests.policy.openpi import openpi, run_openpi, start_openpi
from tests.policy.remote_servers import FEATURES, shown

SHAPES = ((48, 64), (64, 48), (480, 640), (50, 71), (7, 100), (224, 224), (300, 225))


@openpi
def test_openpi_reads_what_we_write_and_the_other_way_round(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dtypes = ("<f4", "<f8", "|u1", "<i8", "|b1", "<f2", ">f4")
    message: dict[str, Any] = {d: (9 * rng.random((2, 3))).astype(d) for d in dtypes}
    message |= {"empty": np.zeros((0, 3)), "scalar": np.float32(0.5), "none": None}
    message |= {"prompt": "lift ü", "images": {"top": np.zeros((2, 2, 3), np.uint8)}}
    (tmp_path / "ours").write_bytes(pack(message))
    program = """
        ours = open(sys.argv[1], "rb").read()
        message = msgpack_numpy.unpackb(ours)
        assert message["<f4"].dtype == np.float32 and message["images"]["top"].shape == (2, 2, 3)
        open(sys.argv[2], "wb").write(msgpack_numpy.packb(message))
    """
    run_openpi(program, tmp_path / "ours", tmp_path / "theirs")
    theirs = unpack((tmp_path / "theirs").read_bytes())
    assert theirs.keys() == message.keys()
    for name in (*dtypes, "empty", "scalar"):
        assert theirs[name].dtype == message[name].dtype
        np.testing.assert_array_equal(theirs[name], message[name])
    assert (theirs["prompt"], theirs["none"]) == ("lift ü", None)


@openpi
def test_pictures_are_brought_to_size_as_openpi_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = {str(i): rng.integers(0, 255, (*s, 3), np.uint8) for i, s in enumerate(SHAPES)}
    np.savez(tmp_path / "images.npz", **images)
    program = """
        images = np.load(sys.argv[1])
        sized = {name: image_tools.resize_with_pad(images[name], 224, 224) for name in images}
        np.savez(sys.argv[2], **sized)
    """
    run_openpi(program, tmp_path / "images.npz", tmp_path / "sized.npz")
    entry = Entry(key="image", camera="front", size=(224, 224))
    with np.load(tmp_path / "sized.npz") as sized:
        for name, image in images.items():
            np.testing.assert_array_equal(picture(image, entry), sized[name])


SERVER = """
    import asyncio, traceback
    from websockets.asyncio.server import serve

    async def converse(socket):
        await socket.send(msgpack_numpy.packb({"reset_pose": np.zeros(3)}))
        async for message in socket:
            try:
                seen = msgpack_numpy.unpackb(message)
                assert seen["images"]["cam_high"].shape == (3, 224, 224), seen["images"]
                assert seen["prompt"] == "lift", seen["prompt"]
                if seen["state"][0] > 5.0:
                    raise KeyError("cam_low")
                chunk = np.tile(seen["state"], (10, 1))
                await socket.send(msgpack_numpy.packb({"actions": chunk}))
            except Exception:
                await socket.send(traceback.format_exc())
                await socket.close(1011, "Internal server error.")
                return

    async def run():
        async with serve(converse, "127.0.0.1", 0, compression=None, max_size=None) as server:
            print(server.sockets[0].getsockname()[1], flush=True)
            await server.serve_forever()

    asyncio.run(run())
"""


@openpi
def test_a_server_made_of_openpis_parts_is_used_like_ours() -> None:
    with start_openpi(SERVER) as process:
        assert process.stdout is not None
        config = RemoteConfig(
            url=f"ws://127.0.0.1:{int(process.stdout.readline())}",
            observation=(
                Entry(key="state", numbers=("hand.c", "arm.a", "arm.b")),
                Entry(
                    key=("images", "cam_high"),
                    camera="front",
                    size=(224, 224),
                    channels_first=True,
                ),
            ),
            joints=("hand.c", "arm.a", "arm.b"),
        )
        with RemotePolicy(config, FEATURES, task="lift") as policy:
            assert policy.execute_steps == 5
            chunk = policy.infer(shown(0.5))
            np.testing.assert_allclose(chunk, np.tile([0.5, 0.1, 0.2], (10, 1)), rtol=1e-6)
            seen = {**shown(), "observation.state": np.full(4, 9.0)}
            with pytest.raises(LostError, match=f"^{config.url}: it says: KeyError: 'cam_low'"):
                policy.infer(seen)
