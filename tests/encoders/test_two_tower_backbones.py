"""Two-tower models and taggers on other backbones: saved, loaded, asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import DEFAULT_MODEL_DIR, ModelDirError, TextEncoder, TwoTowerConfig, TwoTowerModel
from encoders.backbones.registry import build_backbone, list_taggers
from encoders.embed import embed_audio
from encoders.tagger_model import TaggerConfig, TaggerModel
from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from retrieval.training.config import LossConfig
from retrieval.training.modules import ContrastiveModule

WORDS = [PAD_TOKEN, UNKNOWN_TOKEN, "piano", "rain"]


def tiny(backbone: str, **options: object) -> TwoTowerModel:
    torch.manual_seed(0)
    settings = {"dim": 8, "audio_hidden": 16, "text_hidden": 16, "word_dim": 4, "vocab_size": len(WORDS)}
    model = TwoTowerModel(TwoTowerConfig(backbone=backbone, **settings, **options))
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
    np.testing.assert_allclose(again.encode_audio([sound]), vectors, atol=1e-6)
    np.testing.assert_allclose(TextEncoder.load(tmp_path).encode(["rain"]), again.encode_text(["rain"]), atol=1e-5)


def test_the_shipped_model_s_config_means_what_it_meant() -> None:
    model = TwoTowerModel.from_pretrained(DEFAULT_MODEL_DIR)
    assert (model.config.backbone, model.sample_rate_hz, model.chunk_samples) == ("mn04", 32000, 160000)


def test_blocks_that_a_backbone_cannot_hear_are_refused() -> None:
    with pytest.raises(ValueError, match="SampleCNN takes at least 59047 samples"):
        tiny("sample_cnn", chunk_s=3.0)
    with pytest.raises(ValueError, match="MobileNet takes at least 514 samples"):
        tiny("mn04", chunk_s=0.01)
    with pytest.raises(ValueError, match="sample_rate_hz=32000: Musicnn2019 takes 16000"):
        TwoTowerModel(TwoTowerConfig(backbone="musicnn2019", sample_rate_hz=32000))


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


@pytest.mark.parametrize("backbone", list_taggers())
@pytest.mark.parametrize("kind", ["two towers", "tagger"])
def test_the_config_of_every_backbone_is_true(backbone: str, kind: str, tmp_path: Path) -> None:
    with torch.device("meta"):  # shapes without weights
        network = build_backbone(backbone)
        config = TwoTowerConfig(backbone=backbone) if kind == "two towers" else TaggerConfig(backbone=backbone)
        model = TwoTowerModel(config) if isinstance(config, TwoTowerConfig) else TaggerModel(config)
    assert model.config.sample_rate_hz == model.sample_rate_hz == network.sample_rate_hz
    assert model.config.front_end == network.front_end_config
    assert model.config.chunk_s == model.chunk_s == network.default_chunk_s
    if kind == "two towers":
        assert 7 <= model.segment_chunks * model.chunk_s <= 30  # about 10 s, or one chunk where that is longer
    model.config.save_pretrained(tmp_path)
    again = type(config).from_pretrained(tmp_path)
    stored = [{k: v for k, v in c.to_dict().items() if k != "transformers_version"} for c in (again, model.config)]
    assert stored[0] == stored[1]
    assert not hasattr(again, "width") and not hasattr(again, "mel")
    with torch.device("meta"):
        type(model)(again)
        again.front_end = {**again.front_end, "n_mels": 17}
        with pytest.raises(ValueError, match="the front end in the config is not that of"):
            type(model)(again)


@pytest.mark.parametrize(("backbone", "chunk_s", "segment_chunks"), [("mn04", 1.0, 2), ("musicnn2019", 3.0, 3)])
def test_search_forward_and_training_pool_by_one_rule(backbone: str, chunk_s: float, segment_chunks: int) -> None:
    """On more chunks than a segment has, where the mean over all chunks would be something else."""
    model = tiny(backbone, chunk_s=chunk_s, segment_chunks=segment_chunks)
    gains = np.repeat([0.05, 0.5, 2, 0.15, 1], model.chunk_samples).astype(np.float32)
    waveform = noise(5 * model.chunk_samples) * gains
    assert np.abs(waveform).max() < 1
    features = model.chunk_features(waveform.reshape(5, -1))
    n = 5 - segment_chunks + 1
    pooled = np.stack([features[i : i + segment_chunks].mean(0) for i in range(n)])
    with torch.inference_mode():
        segments = model.audio_tower.projection(torch.from_numpy(pooled)).numpy()
    np.testing.assert_allclose(model.segment_vectors(features), segments, atol=1e-5)
    clip = segments.mean(0) / np.linalg.norm(segments.mean(0))
    np.testing.assert_allclose(model.encode_audio(waveform)[0], clip, atol=1e-5)
    found = embed_audio(waveform, model=model)
    assert found.spans_s.tolist() == [[i * chunk_s, (i + segment_chunks) * chunk_s] for i in range(n)]
    with torch.inference_mode():
        chunks = torch.from_numpy(waveform.reshape(1, 5, -1))
        padded = torch.cat([chunks, torch.zeros_like(chunks[:, :2])], dim=1)
        mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
        plain = model(torch.tensor([[2]]), chunks).audio_embeds
        masked = model(torch.tensor([[2]]), padded, chunk_mask=mask).audio_embeds
    np.testing.assert_allclose(plain[0], clip, atol=1e-4)
    np.testing.assert_allclose(masked[0], clip, atol=1e-4)
    words = np.eye(4, dtype=np.float32)[:2]
    with torch.inference_mode():
        trained = ContrastiveModule(model, words, LossConfig()).eval().audio(torch.from_numpy(waveform)[None])
    np.testing.assert_allclose(trained[0], clip, atol=1e-4)


@pytest.mark.parametrize("backbone", ["mn04", "musicnn2019"])
def test_the_inference_copy_follows_the_weights(backbone: str) -> None:
    model, other = tiny(backbone, chunk_s=3.0), tiny(backbone, chunk_s=3.0)
    chunks = noise(model.chunk_samples)[None]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in other.audio_tower.backbone.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    before, expected = model.chunk_features(chunks), other.chunk_features(chunks)
    assert np.abs(before - expected).max() > 1e-3
    assert model.inference_backbone() is model.inference_backbone()

    model.load_state_dict(other.state_dict())  # in evaluation mode throughout
    np.testing.assert_allclose(model.chunk_features(chunks), expected, atol=1e-5)

    former = tiny(backbone, chunk_s=3.0).audio_tower.backbone
    with torch.no_grad():  # in place
        for name, parameter in model.audio_tower.backbone.named_parameters():
            parameter.copy_(former.get_parameter(name))
    np.testing.assert_allclose(model.chunk_features(chunks), before, atol=1e-5)

    statistics = [b for name, b in model.audio_tower.backbone.named_buffers() if name.endswith("running_mean")]
    statistics[-1].add_(1.0)  # a buffer, as batches in training do
    assert np.abs(model.chunk_features(chunks) - before).max() > 1e-3
    statistics[-1].sub_(1.0)

    model.to(torch.float64).to(torch.float32)
    np.testing.assert_allclose(model.chunk_features(chunks), before, atol=1e-5)
    model.to("meta")
    assert {parameter.device.type for parameter in model.inference_backbone().parameters()} == {"meta"}
