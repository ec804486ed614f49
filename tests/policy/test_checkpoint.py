import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dexhil.policy.checkpoint import CONFIG_FILE, Checkpoint
from dexhil.policy.errors import CheckpointError
from dexhil.policy.flow import FlowPolicy
from tests.policy.learning import config

EVERY = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def checkpoint(seed: int = 0, **changes: object) -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = FlowPolicy(config(**changes))
    return Checkpoint(config=policy.config, tensors=policy.state_dict(), training={"seed": seed})


def weights_file(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def test_what_is_loaded_is_what_was_saved_bit_for_bit(tmp_path):
    saved = checkpoint()
    saved.save(tmp_path / "deep" / "policy")
    loaded = Checkpoint.load(tmp_path / "deep" / "policy")
    assert loaded.config == saved.config
    assert loaded.training == saved.training
    assert loaded.tensors.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path):
    for name in "ab":
        checkpoint().save(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_saving_again_replaces_the_checkpoint_and_leaves_no_rubbish(tmp_path):
    checkpoint(0).save(tmp_path)
    checkpoint(1).save(tmp_path)
    assert Checkpoint.load(tmp_path).training == {"seed": 1}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_kill_before_the_last_rename_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoint(0).save(tmp_path)
    replace = Path.replace

    def killed(self, target):
        if Path(target).name == CONFIG_FILE:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint(1).save(tmp_path)
    assert Checkpoint.load(tmp_path).training == {"seed": 0}


@EVERY
@given(data=st.data())
def test_any_flipped_bit_in_the_weights_is_noticed(tmp_path, data):
    checkpoint().save(tmp_path)
    file = weights_file(tmp_path)
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=file.name):
        Checkpoint.load(tmp_path)


@EVERY
@given(data=st.data())
def test_a_file_cut_anywhere_is_noticed(tmp_path, data):
    checkpoint().save(tmp_path)
    file = data.draw(st.sampled_from([weights_file(tmp_path), tmp_path / CONFIG_FILE]))
    content = file.read_bytes()
    file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CheckpointError, match=file.name):
        Checkpoint.load(tmp_path)


@EVERY
@given(content=st.binary(max_size=200))
def test_any_other_file_as_configuration_ends_in_one_sentence(tmp_path, content):
    (tmp_path / CONFIG_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=CONFIG_FILE) as caught:
        Checkpoint.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["format", "weights", "weights_sha256", "policy", "training"])
def test_a_configuration_without_one_of_its_keys_is_refused(tmp_path, key):
    checkpoint().save(tmp_path)
    about = json.loads((tmp_path / CONFIG_FILE).read_text())
    del about[key]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=CONFIG_FILE):
        Checkpoint.load(tmp_path)


def test_an_edited_policy_configuration_is_noticed(tmp_path):
    checkpoint().save(tmp_path)
    file = tmp_path / CONFIG_FILE
    file.write_text(file.read_text().replace('"integration_steps": 5', '"integration_steps": 6'))
    with pytest.raises(CheckpointError, match="changed after it was saved"):
        Checkpoint.load(tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path):
    small, large = checkpoint(), checkpoint(width=48)
    Checkpoint(config=small.config, tensors=large.tensors).save(tmp_path)
    with pytest.raises(CheckpointError, match=r"its config\.json says"):
        Checkpoint.load(tmp_path)
    Checkpoint(config=small.config, tensors=checkpoint(depth=3).tensors).save(tmp_path)
    with pytest.raises(CheckpointError, match="differs in"):
        Checkpoint.load(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    broken = checkpoint()
    broken.tensors["chunk_normalizer.mean"][0] = torch.nan
    broken.save(tmp_path)
    with pytest.raises(CheckpointError, match="not finite"):
        Checkpoint.load(tmp_path)


def test_a_missing_checkpoint_and_an_unwritable_place_end_in_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read"):
        Checkpoint.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write"):
        checkpoint().save(tmp_path / "file" / "policy")
