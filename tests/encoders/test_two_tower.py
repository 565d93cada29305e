"""The shipped model: towers, saving, damage, transformers' pipeline."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import DEFAULT_MODEL_DIR, ModelDirError, TextEncoder, TwoTowerModel, UnknownWordsError
from encoders.pipeline import ChunkFeatureExtractor

DEMO = Path(__file__).parents[2] / "scripts" / "demo_library"


@pytest.fixture(scope="module")
def model() -> TwoTowerModel:
    return TwoTowerModel.from_pretrained(DEFAULT_MODEL_DIR)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "copy"
    shutil.copytree(DEFAULT_MODEL_DIR, folder)
    return folder


@pytest.fixture(scope="module")
def sounds() -> np.ndarray:
    rng = np.random.default_rng(5)
    t = np.arange(5 * 32000) / 32000
    tones = [0.3 * np.sin(2 * np.pi * f * t) for f in (110, 440, 1760)]
    noises = [rng.normal(0, s, len(t)) for s in (0.01, 0.1, 0.3)]
    return np.stack([*tones, *noises]).astype(np.float32)


def test_features_do_not_depend_on_the_batch(model: TwoTowerModel, sounds: np.ndarray) -> None:
    alone = np.concatenate([model.chunk_features(sound[None]) for sound in sounds])
    together = model.chunk_features(np.concatenate([sounds, sounds]))
    a, b = model.segment_vectors(alone), model.segment_vectors(together[: len(sounds)])
    assert np.abs(a - b).max() < 1e-5


def test_the_inference_backbone_is_the_trained_one(model: TwoTowerModel, sounds: np.ndarray) -> None:
    with torch.inference_mode():
        plain = model.audio_tower.chunk_features(torch.from_numpy(sounds)).numpy()
    np.testing.assert_allclose(model.chunk_features(sounds), plain, atol=1e-3 * np.abs(plain).max())


def test_windows_are_pairs_of_blocks_of_unit_length(model: TwoTowerModel, sounds: np.ndarray) -> None:
    features = model.chunk_features(sounds)
    segments = model.segment_vectors(features)
    assert segments.shape == (len(sounds) - 1, model.config.dim)
    np.testing.assert_allclose(np.linalg.norm(segments, axis=1), 1, atol=1e-5)
    pair = model.segment_vectors((features[:1] + features[1:2]) / 2)
    np.testing.assert_allclose(segments[0], pair[0], atol=1e-6)


def test_numpy_and_torch_text_towers_agree(model: TwoTowerModel) -> None:
    phrases = ["acoustic guitar", "dogs barking", "sad slow piano", "double bass"]
    encoder = TextEncoder.load(DEFAULT_MODEL_DIR)
    np.testing.assert_allclose(encoder.encode(phrases), model.encode_text(phrases), atol=1e-5)
    assert encoder.fingerprint == model.fingerprint


def test_numpy_and_torch_calibrations_agree(model: TwoTowerModel, sounds: np.ndarray) -> None:
    audio = model.segment_vectors(model.chunk_features(sounds))
    text = model.encode_text(["piano", "rain", "rock"])
    ours = TextEncoder.load(DEFAULT_MODEL_DIR).calibration.logits(audio, text)
    with torch.inference_mode():
        theirs = model.calibration(torch.from_numpy(audio), torch.from_numpy(text)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_unknown_words_raise_with_suggestions(model: TwoTowerModel) -> None:
    with pytest.raises(UnknownWordsError, match="qqqq"):
        model.encode_text(["qqqqxx"])
    with pytest.raises(UnknownWordsError) as caught:
        TextEncoder.load().encode(["saxophoone"])
    assert "saxophone" in caught.value.suggestions["saxophoone"]


def test_saved_and_loaded_it_is_the_same_model(model: TwoTowerModel, sounds: np.ndarray, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "again")
    again = TwoTowerModel.from_pretrained(tmp_path / "again")
    np.testing.assert_array_equal(model.chunk_features(sounds[:2]), again.chunk_features(sounds[:2]))
    np.testing.assert_array_equal(model.encode_text(["rain"]), again.encode_text(["rain"]))


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.txt", "config.json"])
def test_missing_and_damaged_files_are_named(copied: Path, name: str) -> None:
    path = copied / name
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-3] + b"xyz")
        with pytest.raises(ModelDirError, match=f"{name} is damaged"):
            TwoTowerModel.from_pretrained(copied)
        path.unlink()
        with pytest.raises(ModelDirError, match=f"lacks {name}"):
            TextEncoder.load(copied)
    finally:
        path.write_bytes(whole)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirError, match="no checksums"):
        TextEncoder.load(tmp_path)
    with pytest.raises(ModelDirError, match="no model directory"):
        TextEncoder.load(tmp_path / "nothing")


def test_the_pipeline_scores_labels_as_they_are_written(model: TwoTowerModel, sounds: np.ndarray) -> None:
    from transformers import pipeline

    classify = pipeline("zero-shot-audio-classification", model=str(DEFAULT_MODEL_DIR))
    labels = ["acoustic guitar", "white noise", "sad slow piano"]
    waveform = np.concatenate(list(sounds))
    answer = {row["label"]: row["score"] for row in classify(waveform, candidate_labels=labels)}
    audio = model.segment_vectors(model.chunk_features(sounds)).mean(0, keepdims=True)
    odds = np.exp(TextEncoder.load().calibration.logits(audio, model.encode_text(labels))[0])
    np.testing.assert_allclose([answer[label] for label in labels], odds / odds.sum(), atol=1e-3)
    plain = classify(waveform, candidate_labels=labels, hypothesis_template="{}")
    assert {row["label"]: row["score"] for row in plain} == pytest.approx(answer, abs=1e-6)


@pytest.mark.parametrize(
    "first",
    ["import encoders.two_tower", "from encoders import TwoTowerModel", "from encoders import ChunkFeatureExtractor"],
)
def test_importing_the_model_registers_it_with_transformers(first: str) -> None:
    code = (
        f"{first}\nfrom encoders.checkpoint import DEFAULT_MODEL_DIR\nfrom transformers import pipeline\n"
        "made = pipeline('zero-shot-audio-classification', model=str(DEFAULT_MODEL_DIR))\n"
        "print(type(made.model).__name__, type(made.tokenizer).__name__, type(made.feature_extractor).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=DEFAULT_MODEL_DIR.parents[2], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["TwoTowerModel", "PhraseTokenizer", "ChunkFeatureExtractor"], done.stderr


def test_forward_agrees_with_the_calibrated_windows(model: TwoTowerModel, sounds: np.ndarray) -> None:
    extractor = ChunkFeatureExtractor()
    clips = [np.concatenate(list(sounds[:3])), sounds[3]]
    batch = extractor(clips, sampling_rate=32000, return_tensors="pt")
    ids = torch.tensor([[model.vocabulary.ids["piano"]], [model.vocabulary.ids["rain"]]])
    with torch.inference_mode():
        logits = model(input_ids=ids, **batch).logits_per_audio.numpy()
    text = model.encode_text(["piano", "rain"])
    calibration = TextEncoder.load(DEFAULT_MODEL_DIR).calibration
    for row, chunks in zip(logits, (sounds[:3], sounds[3:4]), strict=True):
        segments = model.segment_vectors(model.chunk_features(chunks))
        np.testing.assert_allclose(row, calibration.logits(segments.mean(0, keepdims=True), text)[0], atol=1e-2)


def test_wrong_rates_are_refused(model: TwoTowerModel, sounds: np.ndarray) -> None:
    with pytest.raises(ValueError, match="resample to 32000 Hz"):
        model.encode_audio(sounds[0], sample_rate_hz=44100)
    with pytest.raises(ValueError, match="takes 32000 Hz"):
        ChunkFeatureExtractor()(sounds[0], sampling_rate=16000)


def test_acoustic_guitar_finds_the_three_guitar_pieces_of_the_demo_library(model: TwoTowerModel) -> None:
    files = sorted(DEMO.glob("*.ogg"))
    scores = model.encode_audio(files) @ model.encode_text(["acoustic guitar"])[0]
    best = [files[place].name for place in np.argsort(-scores)[:3]]
    assert sorted(best) == ["01 evening walk.ogg", "02 kitchen window.ogg", "03 campfire road.ogg"]
