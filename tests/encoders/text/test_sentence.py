"""The sentence encoder against pooling written out, with a tiny BERT of random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from encoders.checkpoint import ModelDirError
from encoders.text.sentence import SentenceTower, pooled
from encoders.text.vocabulary import UnknownWordsError

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
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 12, **modes}))


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert")


def written_out(folder: Path, phrase: str, *, pooling: str) -> np.ndarray:
    """One phrase alone, without padding: its tokens' vectors pooled by hand."""
    ids = {word: at for at, word in enumerate(WORDS)}
    pieces = {"drums": ["drum", "##s"]}
    tokens = [t for w in phrase.split() for t in pieces.get(w, [w])]
    row = [ids["[CLS]"], *(ids.get(t, ids["[UNK]"]) for t in tokens), ids["[SEP]"]]
    model = BertModel.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([row])).last_hidden_state[0].numpy()
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
    assert tower.pooling == pooling
    assert tower.embedding_dim == tower.dim == 12
    assert vectors.shape == (4, 12)
    assert vectors.dtype == np.float32
    for phrase, vector in zip(PHRASES, vectors, strict=True):
        np.testing.assert_allclose(vector, written_out(bert, phrase, pooling=pooling), atol=1e-5)


def test_pooling_leaves_padding_out_on_either_side() -> None:
    hidden = torch.tensor([[[9.0, -9.0], [1.0, 2.0], [3.0, -4.0]], [[1.0, 2.0], [3.0, -4.0], [9.0, -9.0]]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 0]])
    for pooling, expected in (("mean", [2.0, -1.0]), ("cls", [1.0, 2.0]), ("max", [3.0, 2.0])):
        assert pooled(hidden, mask, pooling=pooling).tolist() == [expected, expected]
    with pytest.raises(ValueError, match="choose one of mean, cls, max"):
        pooled(hidden, mask, pooling="sum")


def test_forward_has_gradients_and_encode_leaves_the_mode_as_it_was(bert: Path) -> None:
    tower = SentenceTower.load(bert)
    assert not tower.training
    batch = tower.tokenize(PHRASES)
    np.testing.assert_allclose(tower(**batch).detach().numpy(), tower.encode(PHRASES), atol=1e-6)
    tower(**batch)[:, 0].sum().backward()
    assert all(p.grad is not None for n, p in tower.transformer.named_parameters() if not n.startswith("pooler."))
    tower.train()
    np.testing.assert_array_equal(tower.encode(PHRASES), tower.encode(PHRASES))
    assert tower.training


def test_long_phrases_are_cut_and_none_is_no_phrase(bert: Path) -> None:
    (bert / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 5}))
    tower = SentenceTower.load(bert)
    assert tower.max_tokens == 5
    cut, whole = tower.encode(["sad piano rain loud loud", "sad piano rain"])
    np.testing.assert_allclose(cut, whole, atol=1e-6)
    assert tower.encode([]).shape == (0, 12)
    assert tower.unknown_words("zither") == []
    with pytest.raises(UnknownWordsError, match="no word to search for"):
        tower.encode(["piano", " "])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no model directory"),
        ("empty", "no sentence encoder could be loaded"),
        ("cut", "no sentence encoder could be loaded"),
        ("lacking", "weights .* lack encoder.layer.1"),
        ("dense", "not served here .Dense."),
        ("two", "pooled by pooling_mode_cls_token and pooling_mode_max_tokens"),
        ("decoder", "no text encoder .t5."),
    ],
)
def test_what_is_no_sentence_encoder_is_refused(bert: Path, name: str, message: str) -> None:
    folder, weights = bert, bert / "model.safetensors"
    if name in {"missing", "empty"}:
        folder = bert.parent / name
        if name == "empty":
            folder.mkdir()
    elif name == "cut":
        weights.write_bytes(weights.read_bytes()[:2000])
    elif name == "lacking":
        config = json.loads((bert / "config.json").read_text())
        BertModel(BertConfig(**{**config, "num_hidden_layers": 1})).save_pretrained(str(bert))
        (bert / "config.json").write_text(json.dumps(config))
    elif name == "dense":
        (bert / "modules.json").write_text(json.dumps([{"path": "2_Dense", "type": "sentence_transformers.Dense"}]))
    elif name == "two":
        declare_pooling(bert, pooling_mode_cls_token=True, pooling_mode_max_tokens=True)
    else:
        (bert / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ModelDirError, match=message):
        SentenceTower.load(folder)
