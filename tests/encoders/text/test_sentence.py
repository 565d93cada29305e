"""The sentence encoder against pooling written out, with a tiny BERT of random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from transformers import BertConfig, BertModel, BertTokenizer

from encoders.checkpoint import ModelDirError
from encoders.text.sentence import SentenceTower
from encoders.text.unknown import UnknownWordsError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sad", "piano", "loud", "drum", "##s", "rain"]
PHRASES = ["sad piano", "drums", "loud rain loud rain loud drums", "zither"]


def write_bert(folder: Path) -> Path:
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(str(folder))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(str(folder))
    return folder


def declare_pooling(folder: Path, **modes: object) -> None:
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 12, **modes}))


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert")


def token_vectors(folder: Path, phrase: str) -> np.ndarray:
    """Vectors of the tokens of one phrase, without padding [shape=(n_tokens, 12)]."""
    ids = {word: at for at, word in enumerate(WORDS)}
    pieces = {"drums": ["drum", "##s"]}
    tokens = [t for w in phrase.split() for t in pieces.get(w, [w])]
    row = [ids["[CLS]"], *(ids.get(t, ids["[UNK]"]) for t in tokens), ids["[SEP]"]]
    model = BertModel.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([row])).last_hidden_state[0].numpy()


def pooled(folder: Path, phrase: str, *, pooling: str) -> np.ndarray:
    hidden = token_vectors(folder, phrase)
    vector = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0)}[pooling]
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize(
    ("modes", "pooling"),
    [
        (None, "mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "max"}, "max"),
    ],
)
def test_vectors_are_the_pooling_that_the_folder_declares(
    bert: Path, modes: dict[str, object] | None, pooling: str
) -> None:
    if modes is not None:
        declare_pooling(bert, **modes)
    tower = SentenceTower.load(bert)
    vectors = tower.encode(PHRASES)
    assert tower.dim == 12
    assert vectors.shape == (4, 12)
    assert vectors.dtype == np.float32
    for phrase, vector in zip(PHRASES, vectors, strict=True):
        np.testing.assert_allclose(vector, pooled(bert, phrase, pooling=pooling), atol=1e-5)


def test_forward_has_gradients_and_encode_leaves_the_mode_as_it_was(bert: Path) -> None:
    tower = SentenceTower.load(bert)
    assert not tower.training
    batch = BertTokenizer(str(bert / "vocab.txt"))(PHRASES, padding=True, return_tensors="pt")
    batch.pop("token_type_ids")
    np.testing.assert_allclose(tower(**batch).detach().numpy(), tower.encode(PHRASES), atol=1e-6)
    tower(**batch)[:, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in tower.parameters())
    tower.train()
    np.testing.assert_array_equal(tower.encode(PHRASES), tower.encode(PHRASES))
    assert tower.training


def test_long_phrases_are_cut_and_none_is_no_phrase(bert: Path) -> None:
    declare_pooling(bert, pooling_mode_mean_tokens=True)
    (bert / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 5}))
    tower = SentenceTower.load(bert)
    cut, whole = tower.encode(["sad piano rain loud loud", "sad piano rain"])
    np.testing.assert_allclose(cut, whole, atol=1e-6)
    assert tower.encode([]).shape == (0, 12)
    assert tower.unknown_words("zither") == []
    with pytest.raises(UnknownWordsError, match="no word to search for"):
        tower.encode(["piano", " "])


def test_a_saved_encoder_gives_the_same_vectors_and_is_saved_alike_again(bert: Path, tmp_path: Path) -> None:
    BertModel.from_pretrained(str(bert), add_pooling_layer=False).save_pretrained(str(bert))  # as some are published
    declare_pooling(bert, pooling_mode_max_tokens=True)
    tower = SentenceTower.load(bert)
    vectors = tower.encode(PHRASES)
    names = tower.save(tmp_path / "once")
    assert {"modules.json", "model.safetensors", "tokenizer.json"} <= set(names)
    again = SentenceTower.load(tmp_path / "once")
    np.testing.assert_array_equal(again.encode(PHRASES), vectors)
    assert again.save(tmp_path / "twice") == names
    for name in names:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes(), name


def test_further_layers_of_sentence_transformers_are_used(bert: Path, tmp_path: Path) -> None:
    encoder = SentenceTransformer(str(bert), device="cpu")
    torch.manual_seed(1)
    dense = Dense(12, 5)
    encoder.append(dense)
    weight, bias = (value.detach().numpy() for value in (dense.linear.weight, dense.linear.bias))
    encoder.save_pretrained(str(tmp_path / "dense"), create_model_card=False)
    tower = SentenceTower.load(tmp_path / "dense")
    assert tower.dim == 5
    vectors = tower.encode(PHRASES)
    expected = np.stack([np.tanh(token_vectors(bert, phrase).mean(0) @ weight.T + bias) for phrase in PHRASES])
    np.testing.assert_allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no model directory .* give the directory of a sentence-transformers model"),
        ("empty", "no sentence encoder could be loaded"),
        ("truncated", "no sentence encoder could be loaded"),
        ("lacking", "weights .* lack encoder.layer.1"),
        ("pickle", r"pytorch_model\.bin is a pickle"),
        ("code", "no sentence encoder could be loaded .*third-party code"),
        ("foreign", "weights .* lack"),
    ],
)
def test_a_directory_that_is_no_sentence_encoder_is_refused(bert: Path, name: str, message: str) -> None:
    folder, weights = bert, bert / "model.safetensors"
    if name in {"missing", "empty"}:
        folder = bert.parent / name
        if name == "empty":
            folder.mkdir()
    elif name == "truncated":
        weights.write_bytes(weights.read_bytes()[:2000])
    elif name == "lacking":
        config = json.loads((bert / "config.json").read_text())
        BertModel(BertConfig(**{**config, "num_hidden_layers": 1})).save_pretrained(str(bert))
        (bert / "config.json").write_text(json.dumps(config))
    elif name == "pickle":
        torch.save(BertModel.from_pretrained(str(bert)).state_dict(), bert / "pytorch_model.bin")
        weights.unlink()
    elif name == "code":
        (bert / "modeling.py").write_text("raise SystemExit('run')\n")
        (bert / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "modeling.Own"}]))
    else:
        (bert / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ModelDirError, match=message) as error:
        SentenceTower.load(folder)
    assert "\n" not in str(error.value)


def test_the_extra_that_is_not_installed_is_named(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelDirError, match=r"run pip install 'earmark\[sentence\]'"):
        SentenceTower.load(bert)
