"""Two-tower models and taggers on other backbones: saved, loaded, asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import DEFAULT_MODEL_DIR, ModelDirError, TextEncoder, TwoTowerConfig, TwoTowerModel
from encoders.backbones.registry import build_backbone
from encoders.tagger_model import TaggerConfig, TaggerModel
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary

WORDS = [PAD_TOKEN, UNKNOWN_TOKEN, "piano", "rain"]


def tiny(backbone: str, **options: object) -> TwoTowerModel:
    rate_hz = build_backbone(backbone).sample_rate_hz
    torch.manual_seed(0)
    settings = {"dim": 8, "audio_hidden": 16, "text_hidden": 16, "word_dim": 4, "vocab_size": len(WORDS)}
    model = TwoTowerModel(TwoTowerConfig(backbone=backbone, sample_rate_hz=rate_hz, **settings, **options))
    model.vocabulary = Vocabulary(WORDS)
    torch.nn.init.ones_(model.words.weights)
    model.words.scales.fill_(1.0)
    model.words.codes.copy_(torch.arange(16).reshape(4, 4) % 7)
    return model.eval()


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n_samples).astype(np.float32)


@pytest.mark.parametrize(
    ("backbone", "chunk_s"), [("musicnn2019", 3.0), ("harmonic_cnn", 5.0), ("sample_cnn", 59049 / 16000)]
)
def test_a_model_on_another_backbone_is_saved_and_loaded(backbone: str, chunk_s: float, tmp_path: Path) -> None:
    model = tiny(backbone, chunk_s=chunk_s)
    sound = noise(round(2.3 * chunk_s * model.sample_rate_hz))
    assert model.sample_rate_hz == 16000
    vectors = model.encode_audio([sound])
    model.save_pretrained(tmp_path)
    again = TwoTowerModel.from_pretrained(tmp_path)
    assert again.config.backbone == backbone
    np.testing.assert_array_equal(again.encode_audio([sound]), vectors)
    np.testing.assert_allclose(TextEncoder.load(tmp_path).encode(["rain"]), again.encode_text(["rain"]), atol=1e-5)
    with pytest.raises(TypeError, match="takes no log-mel chunks"):
        again.mel_features(torch.zeros(1, 96, 187))


def test_the_shipped_model_s_config_means_what_it_meant() -> None:
    model = TwoTowerModel.from_pretrained(DEFAULT_MODEL_DIR)
    assert (model.config.backbone, model.sample_rate_hz, model.chunk_samples) == ("mn04", 32000, 160000)


def test_blocks_that_a_backbone_cannot_hear_are_refused() -> None:
    with pytest.raises(ValueError, match="SampleCNN takes at least 59047 samples"):
        tiny("sample_cnn", chunk_s=3.0)
    with pytest.raises(ValueError, match="MobileNet takes at least 514 samples"):
        tiny("mn04", chunk_s=0.01)
    with pytest.raises(ValueError, match="sample_rate_hz=32000: Musicnn2019 takes 16000"):
        TwoTowerModel(TwoTowerConfig(backbone="musicnn2019"))


def test_a_tagger_is_saved_loaded_and_averages_over_blocks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TaggerModel(TaggerConfig(backbone="musicnn2019", tag_names=["piano", "rain", "dog"])).eval()
    chunks = noise(2 * model.chunk_samples)
    model.save_pretrained(tmp_path)
    again = TaggerModel.from_pretrained(tmp_path)
    assert again.config.tag_names == ["piano", "rain", "dog"]
    found = again.tag_audio([chunks, chunks[: model.chunk_samples]])
    with torch.inference_mode():
        logits = model(torch.from_numpy(chunks.reshape(2, -1))).logits
    np.testing.assert_allclose(found[0], torch.sigmoid(logits).mean(0), atol=1e-5)
    np.testing.assert_allclose(found[1], torch.sigmoid(logits)[0], atol=1e-5)


def test_what_is_no_tagger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirError, match=r"it has no config\.json"):
        TaggerModel.from_pretrained(tmp_path)
    with pytest.raises(ModelDirError, match="earmark-two-tower', not a tagger"):
        TaggerModel.from_pretrained(DEFAULT_MODEL_DIR)
