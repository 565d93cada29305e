"""What the text tower reads: words with subwords, and a sentence encoder; trained, saved, loaded, asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from training_helpers import TAGS, tagged_clips
from transformers import BertConfig, BertModel, BertTokenizer

from encoders import TextEncoder, TwoTowerModel, UnknownWordsError
from encoders.checkpoint import ModelDirError
from encoders.text.sentence import SentenceTower
from encoders.text.word_vectors import WordVectors, WordVectorsError
from retrieval.tagging import ZeroShotTagger
from retrieval.training.config import BatchConfig, OptimConfig, TrainConfig
from retrieval.training.run import TrainingRun
from retrieval.training.text_encoder import load_phrase_encoder

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(torch|accelerate|transformers).*")
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TAGS, "##s", "very"]


def subword_file(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    path = folder / "fasttext.safetensors"
    WordVectors.with_subwords(
        list(TAGS),
        rng.standard_normal((len(TAGS), 12)).astype(np.float32),
        np.full(len(TAGS), 1 / len(TAGS)),
        buckets=rng.standard_normal((50, 12)).astype(np.float32),
        chars=(3, 5),
        source="test",
    ).save(path)
    return path


def bert_dir(folder: Path) -> Path:
    """A tiny BERT of random weights, without its pooler, as some published ones are."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(str(folder))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(str(folder))
    return folder


def trained(folder: Path, text: Path | str, **changes: Any) -> Path:
    """Two steps on tones."""
    out = folder / "model"
    values: dict[str, Any] = {"chunk_s": 0.5, "crop_s": 0.5, "batch": BatchConfig(size=4, mined_share=0.0)}
    values |= {"optim": OptimConfig(epochs=1, device="cpu"), "synonym_cosine": 2.0, **changes}
    plan = TrainConfig(objective="contrastive", backbone="mn04", out=out, text=text, **values)
    clips = tagged_clips(folder / "clips")
    assert TrainingRun(plan, clips.of_split("train"), clips.of_split("val")).run().steps == 2
    return out


@pytest.fixture(scope="module")
def subword_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subwords")
    return trained(folder, subword_file(folder))


@pytest.fixture(scope="module")
def sentence_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sentences")
    return trained(folder, f"sentence:{bert_dir(folder / 'bert')}")


def test_subwords_serve_unknown_words_in_torch_and_numpy_alike(subword_model: Path) -> None:
    model, text = TwoTowerModel.from_pretrained(subword_model), TextEncoder.load(subword_model)
    phrases = ["low", "trebles", "low trebles", "noises and high"]
    np.testing.assert_allclose(model.encode_text(phrases), text.encode(phrases), atol=1e-5)
    assert text.unknown_words("trebles") == []
    words = WordVectors.load(subword_model.parent / "fasttext.safetensors")
    np.testing.assert_allclose(text.phrase_vectors(phrases), words.encode(phrases), atol=1e-6)
    assert model.encode_text([]).shape == (0, model.config.dim)
    for side in (model.encode_text, text.encode):
        with pytest.raises(UnknownWordsError):
            side(["!!"])


def test_a_model_with_subwords_is_saved_again_over_itself_and_its_words_are_read(
    subword_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(subword_model, tmp_path / "model"))
    model = TwoTowerModel.from_pretrained(folder)
    before, fingerprint = model.encode_text(["trebles"]), model.fingerprint
    model.save_pretrained(folder)
    again = TwoTowerModel.from_pretrained(folder)
    np.testing.assert_array_equal(again.encode_text(["trebles"]), before)
    assert again.fingerprint == fingerprint
    words = load_phrase_encoder(folder)
    np.testing.assert_allclose(
        words.encode(["trebles"]), TextEncoder.load(folder).phrase_vectors(["trebles"]), atol=1e-6
    )
    (folder / "subwords.safetensors").write_bytes(b"x")
    for load in (TwoTowerModel.from_pretrained, TextEncoder.load):
        with pytest.raises(ModelDirError, match=r"subwords\.safetensors is damaged"):
            load(folder)


def test_a_sentence_encoder_lies_in_the_model_directory_and_is_asked(sentence_model: Path) -> None:
    shutil.rmtree(sentence_model.parent / "bert", ignore_errors=True)  # nothing is read from where it came from
    model, text = TwoTowerModel.from_pretrained(sentence_model), TextEncoder.load(sentence_model)
    assert model.config.text == "sentence" and model.fingerprint == text.fingerprint
    phrases = ["low", "very high noise", "zither"]
    vectors = text.encode(phrases)
    np.testing.assert_allclose(model.encode_text(phrases), vectors, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    tower = SentenceTower.load(sentence_model / "sentence")
    np.testing.assert_allclose(text.phrase_vectors(phrases), tower.encode(phrases), atol=1e-6)
    assert text.unknown_words("zither") == [] and text.tag_names() == sorted(TAGS)
    with pytest.raises(WordVectorsError, match="has no word vectors: the model uses a sentence encoder"):
        WordVectors.load(sentence_model)
    with pytest.raises(UnknownWordsError, match="no word to search for"):
        text.encode([" "])
    names = [name for name, _ in model.named_parameters()]
    assert not any("sentence" in name or "transformer" in name for name in names)
    tone = sentence_model.parent / "tone.wav"
    soundfile.write(tone, 0.2 * np.sin(np.arange(32000) / 20), 32000)
    found = ZeroShotTagger.open(sentence_model, device="cpu").tag(tone, ["zither", "low"])
    assert sorted(tag.tag for tag in found.tags) == ["low", "zither"]


def test_a_pipeline_asks_the_sentence_encoder(sentence_model: Path, tmp_path: Path) -> None:
    from transformers import pipeline

    model = TwoTowerModel.from_pretrained(sentence_model)
    with torch.no_grad():  # after two steps all sounds are one, and what tells them apart is noise
        model.calibration.covariance.copy_(torch.eye(model.config.dim) / model.config.dim)
        model.calibration.line.copy_(torch.tensor([1.0, 0.0]))
    model.save_pretrained(tmp_path)
    judge = pipeline("zero-shot-audio-classification", model=str(tmp_path))
    sound = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    labels = ["low", "very high noise"]
    told = {row["label"]: row["score"] for row in judge(sound, candidate_labels=labels)}
    logits = TextEncoder.load(tmp_path).calibration.logits(model.encode_audio([sound]), model.encode_text(labels))
    odds = np.exp(logits[0])
    assert told.keys() == set(labels) and sum(told.values()) == pytest.approx(1)
    assert told["low"] == pytest.approx(odds[0] / odds.sum(), abs=1e-4)


def test_the_sentence_encoder_is_covered_by_the_checksums(sentence_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sentence_model, tmp_path / "model", ignore=shutil.ignore_patterns("audio")))
    saved = TwoTowerModel.from_pretrained(folder)
    saved.save_pretrained(folder)
    assert TwoTowerModel.from_pretrained(folder).fingerprint == TextEncoder.load(sentence_model).fingerprint
    weights = folder / "sentence" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for load in (TwoTowerModel.from_pretrained, TextEncoder.load, load_phrase_encoder):
        with pytest.raises(ModelDirError, match=r"sentence.model\.safetensors is damaged or was changed"):
            load(folder)
    weights.unlink()
    with pytest.raises(ModelDirError, match=r"lacks sentence/model\.safetensors"):
        TextEncoder.load(folder)


def test_training_starts_from_a_model_with_the_same_sentence_encoder(sentence_model: Path, tmp_path: Path) -> None:
    from retrieval.training.init import build_two_tower

    same = build_two_tower(
        "mn04", load_phrase_encoder(sentence_model), tag_names=[*TAGS], chunk_s=0.5, init=sentence_model
    )
    source = TwoTowerModel.from_pretrained(sentence_model)
    assert torch.equal(same.text_tower.fc1.weight, source.text_tower.fc1.weight)
    words = WordVectors.load(subword_file(tmp_path))
    other = build_two_tower("mn04", words, tag_names=[*TAGS], chunk_s=0.5, init=sentence_model)
    assert not torch.equal(other.text_tower.fc1.weight, source.text_tower.fc1.weight)
    assert torch.equal(other.audio_tower.projection.fc1.weight, source.audio_tower.projection.fc1.weight)
