"""The audio tower that is loaded when it is needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import encoders.loading
from encoders import DEFAULT_MODEL_DIR, ModelDirError
from encoders.checkpoint import check_model_dir, fingerprint
from encoders.device import DeviceError
from encoders.loading import DeferredModel, load_model


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULT_MODEL_DIR, tmp_path / "model"))


def test_a_deferred_model_is_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_model(DEFAULT_MODEL_DIR, device="cpu")
    loaded: list[Path] = []

    def load(model_dir: Path, **_: object) -> object:
        loaded.append(model_dir)
        return whole

    monkeypatch.setattr(encoders.loading, "load_model", load)
    model = DeferredModel(DEFAULT_MODEL_DIR, device="cpu")
    for name in ("fingerprint", "sample_rate_hz", "chunk_s", "segment_chunks"):
        assert getattr(model, name) == getattr(whole, name)
    assert not loaded and not model.is_loaded
    chunks = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 160_000)).astype(np.float32)
    features = model.chunk_features(chunks)
    np.testing.assert_array_equal(features, whole.chunk_features(chunks))
    np.testing.assert_array_equal(model.segment_vectors(features), whole.segment_vectors(features))
    assert loaded == [DEFAULT_MODEL_DIR] and model.is_loaded


def test_damage_is_found_when_it_matters(model_dir: Path) -> None:
    weights = model_dir / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    model = DeferredModel(model_dir, device="cpu")
    with pytest.raises(ModelDirError, match=r"model\.safetensors is damaged"):
        model.chunk_features(np.zeros((1, 160_000), np.float32))
    (model_dir / "config.json").write_text("{}")
    with pytest.raises(ModelDirError, match=r"config\.json is damaged"):
        DeferredModel(model_dir)
    shutil.rmtree(model_dir)
    with pytest.raises(ModelDirError, match="no model directory"):
        DeferredModel(model_dir)


def test_a_model_that_is_replaced_meanwhile_is_refused(model_dir: Path) -> None:
    model = DeferredModel(model_dir, device="cpu")
    config = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps({**config, "tag_names": config["tag_names"][:1]}))
    encoders.checkpoint.write_checksums(model_dir)
    assert check_model_dir(model_dir) == fingerprint(model_dir) != model.fingerprint
    with pytest.raises(ModelDirError, match="was replaced meanwhile"):
        model.chunk_features(np.zeros((1, 160_000), np.float32))


def test_a_config_without_chunks_is_no_model(model_dir: Path) -> None:
    config = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps({**config, "chunk_s": None}))
    encoders.checkpoint.write_checksums(model_dir)
    with pytest.raises(ModelDirError, match="does not describe its chunks"):
        DeferredModel(model_dir)


def test_a_device_that_is_not_there_is_said_when_the_model_is_loaded() -> None:
    model = DeferredModel(DEFAULT_MODEL_DIR, device="nonsense")
    with pytest.raises(DeviceError, match="nonsense"):
        model.chunk_features(np.zeros((1, 160_000), np.float32))
