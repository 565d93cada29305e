"""The level rule: its curve, its measure, and that every way into a model applies it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_files import noise, tone

from encoders import DEFAULT_MODEL_DIR, TwoTowerModel
from encoders.backbones.registry import build_backbone
from encoders.checkpoint import fingerprint, write_checksums
from encoders.level import DEFAULT_LEVEL, LevelRule
from encoders.tagger import build_tagger
from encoders.tagger_model import TaggerConfig, TaggerModel
from index import IndexMismatchError, Manifest, VectorIndex

RATE_HZ = 32_000


def at_level(waveform: np.ndarray, level_db: float) -> torch.Tensor:
    """A batch of one waveform whose RMS is at a level."""
    rms = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
    return torch.from_numpy((waveform * 10 ** (level_db / 20) / rms).astype(np.float32))[None]


def gain_db(waveforms: torch.Tensor) -> float:
    return float(20 * torch.log10(DEFAULT_LEVEL.gains(waveforms, sample_rate_hz=RATE_HZ))[0])


@pytest.mark.parametrize("level_db", [-3.0, -20.0, -40.0, -70.0])
def test_the_level_of_noise_is_its_rms(level_db: float) -> None:
    found = DEFAULT_LEVEL.level_db(at_level(noise(5 * RATE_HZ), level_db), sample_rate_hz=RATE_HZ)
    assert float(found[0]) == pytest.approx(level_db, abs=0.05)


def test_neither_silence_around_a_sound_nor_an_offset_counts() -> None:
    sound = at_level(noise(RATE_HZ), -40.0)
    sparse = torch.nn.functional.pad(sound, (2 * RATE_HZ, 2 * RATE_HZ))
    levels = DEFAULT_LEVEL.level_db(torch.cat([sparse, sparse + 0.3]), sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(levels.numpy(), -40.0, atol=0.1)


@pytest.mark.parametrize(
    ("level_db", "expected_db"),
    [(-5, 0), (-20, 0), (-31.9, 0), (-42, 10), (-65, 33), (-75, 16.5), (-85.1, 0), (-96, 0)],
)
def test_the_gain_at_a_level(level_db: float, expected_db: float) -> None:
    assert gain_db(at_level(noise(5 * RATE_HZ), level_db)) == pytest.approx(expected_db, abs=0.15)


def test_ordinary_chunks_and_silence_pass_to_the_bit() -> None:
    chunks = torch.cat([at_level(noise(5 * RATE_HZ), level) for level in (-4, -12, -30)] + [torch.zeros(1, 160_000)])
    assert torch.equal(DEFAULT_LEVEL(chunks, sample_rate_hz=RATE_HZ), chunks)


def test_the_rule_has_no_jump() -> None:
    levels = torch.linspace(-100, 0, 2001)
    gains = DEFAULT_LEVEL.gain_db(levels)
    assert float(gains.min()) == pytest.approx(0, abs=1e-4) and float(gains.diff().abs().max()) < 0.1
    assert bool(((levels + gains).diff() >= -1e-4).all())  # what is louder stays louder


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"points_db": [[-60, -30]]},
        {"points_db": [[-30, -30], [-60, -60]]},
        {"points_db": [[-60, -20], [-30, -30]]},
        {"points_db": [[-60, -60], [-30, -30]], "block_s": 0},
        {"points_db": [[-60, -60], [-30, -30]], "curve": 1},
        {"points_db": 3},
    ],
)
def test_a_rule_that_makes_no_sense(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"rule|positive"):
        LevelRule.from_dict(fields)


def test_a_rule_survives_json() -> None:
    assert LevelRule.from_dict(json.loads(json.dumps(DEFAULT_LEVEL.to_dict()))) == DEFAULT_LEVEL


@pytest.fixture(scope="module")
def model() -> TwoTowerModel:
    return TwoTowerModel.from_pretrained(DEFAULT_MODEL_DIR)


def test_the_shipped_model_hears_a_quiet_chunk_as_a_louder_one(model: TwoTowerModel) -> None:
    assert model.audio_tower.level == DEFAULT_LEVEL
    sound = tone(5.0) + 0.1 * noise(5 * RATE_HZ)
    louder, quiet = (at_level(sound, level) for level in (-32.0, -62.0))
    expected = model.audio_tower.backbone(louder).detach()
    for features in (torch.from_numpy(model.chunk_features(quiet)), model.audio_tower.chunk_features(quiet)):
        np.testing.assert_allclose(features.detach(), expected, atol=2e-3 * float(expected.abs().max()))
    whole = model.encode_audio([louder[0].numpy(), quiet[0].numpy()])
    np.testing.assert_allclose(whole[0], whole[1], atol=2e-3)


def test_a_tagger_applies_its_rule_and_a_published_one_has_none() -> None:
    torch.manual_seed(0)
    config = TaggerConfig(backbone="mn04", tag_names=["a", "b"], level=DEFAULT_LEVEL.to_dict())
    ruled = TaggerModel(config).eval()
    assert ruled.tagger.level == DEFAULT_LEVEL
    louder, quiet = (at_level(noise(5 * RATE_HZ), level) for level in (-32.0, -62.0))
    logits = ruled.chunk_logits(torch.cat([louder, quiet]))
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-3)
    assert build_tagger("mn04", n_classes=2).level is None


def test_a_model_without_a_rule_keeps_the_level() -> None:
    torch.manual_seed(0)
    model = TaggerModel(TaggerConfig(backbone="mn04", tag_names=["a"])).eval()
    assert model.config.level is None and model.tagger.level is None
    quiet = at_level(noise(5 * RATE_HZ), -62.0)
    plain = build_backbone("mn04").eval()
    plain.load_state_dict(model.tagger.backbone.state_dict())
    assert torch.equal(model.tagger.backbone(quiet), plain(quiet))


def test_an_index_made_under_another_rule_is_refused(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_MODEL_DIR, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    config["level"]["points_db"][1][0] = -60.0
    path.write_text(json.dumps(config))
    changed = write_checksums(tmp_path / "model")
    assert changed != fingerprint()
    VectorIndex.create(tmp_path / "an.index", Manifest(fingerprint(), "default", 256)).close()
    VectorIndex.open(tmp_path / "an.index", encoder=fingerprint()).close()
    with pytest.raises(IndexMismatchError):
        VectorIndex.open(tmp_path / "an.index", encoder=changed)
    assert TwoTowerModel.from_pretrained(tmp_path / "model").audio_tower.level != DEFAULT_LEVEL
