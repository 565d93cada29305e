"""Subwords against gensim's, the file of words, and subwords in a model's directory."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gensim.models.fasttext import FastTextKeyedVectors, ft_ngram_hashes
from gensim.models.fasttext_inner import compute_ngrams_bytes
from safetensors.numpy import load_file, save_file

from encoders.checkpoint import DEFAULT_MODEL_DIR, ModelDirError, write_checksums
from encoders.text.subwords import SUBWORDS_FILE, Subwords, ngram_hash, ngrams, quantised
from encoders.text.tower import TextEncoder
from encoders.text.unknown import UnknownWordsError
from encoders.text.word_vectors import WordVectors, WordVectorsError

STRANGE_WORDS = ["guitar", "a", "", "don't", "café", "naïve", "Müllabfuhr", "東京", "🎸🎶", "ÿþ", "x" * 40]
TOKENS = ["double", "bass", "double_bass", "of", "rain"]
N_BUCKETS = 50


@pytest.fixture
def gensim_vectors() -> FastTextKeyedVectors:
    vectors = FastTextKeyedVectors(vector_size=6, min_n=3, max_n=5, bucket=N_BUCKETS)
    vectors.vectors_ngrams = np.random.default_rng(0).normal(size=(N_BUCKETS, 6)).astype(np.float32)
    return vectors


def words_with_subwords(buckets: np.ndarray) -> WordVectors:
    vectors = np.random.default_rng(1).normal(size=(len(TOKENS), buckets.shape[1]))
    shares = np.array([0.2, 0.3, 0.1, 0.35, 0.05])
    return WordVectors.with_subwords(TOKENS, vectors, shares, buckets=buckets, chars=(3, 5), source="a test")


@pytest.mark.parametrize(("min_chars", "max_chars"), [(3, 6), (1, 4), (2, 2), (4, 50)])
@pytest.mark.parametrize("word", STRANGE_WORDS)
def test_ngrams_and_hashes_are_gensims(word: str, min_chars: int, max_chars: int) -> None:
    found = ngrams(word, min_chars=min_chars, max_chars=max_chars)
    assert [ngram.encode() for ngram in found] == compute_ngrams_bytes(word, min_chars, max_chars)
    assert [ngram_hash(ngram) % 2_000_003 for ngram in found] == ft_ngram_hashes(word, min_chars, max_chars, 2_000_003)


def test_the_hash_is_fnv_1a_where_no_byte_is_negative() -> None:
    assert ngram_hash("a") == 0xE40C292C  # test vectors of 32 bit FNV-1a
    assert ngram_hash("foobar") == 0xBF9CF968


def test_quantised_vectors_are_near_by_half_a_step() -> None:
    vectors = np.random.default_rng(2).normal(size=(7, 5)).astype(np.float32)
    vectors[3] = 0
    codes, scales = quantised(vectors)
    assert codes.dtype == np.int8
    assert scales[3] == 0
    assert (np.abs(codes * scales[:, None] - vectors) <= scales[:, None] / 2 + 1e-6).all()


@pytest.mark.parametrize("word", [word for word in STRANGE_WORDS if len(word) > 1])
def test_unknown_words_have_gensims_vectors(gensim_vectors: FastTextKeyedVectors, word: str) -> None:
    codes, scales = quantised(gensim_vectors.vectors_ngrams)
    ours = Subwords(codes, scales, np.zeros(6, np.float32), 3, 5).vector(word)
    assert ours is not None
    np.testing.assert_allclose(ours, gensim_vectors.get_vector(word), atol=scales.max() / 2 + 1e-6)


def test_known_words_are_unit_vectors_less_their_mean() -> None:
    vectors = np.random.default_rng(3).normal(size=(3, 8))
    shares = np.array([0.5, 0.3, 0.2])
    words = WordVectors.from_floats(["a1", "b2", "c3"], vectors, shares, kind="glove", source="x", sif_a=0.1)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = unit - 0.5 * unit[0] - 0.3 * unit[1] - 0.2 * unit[2]
    for token, expected in zip(["a1", "b2", "c3"], centred, strict=True):
        np.testing.assert_allclose(words.vector(token), expected, atol=0.01)
    np.testing.assert_allclose(words.weights, [0, 0, 0.1 / 0.6, 0.1 / 0.4, 0.1 / 0.3], rtol=1e-6)
    expected = 0.1 / 0.6 * words.vector("a1") + 0.1 / 0.3 * words.vector("c3")
    np.testing.assert_allclose(words.encode(["A1, c3!"])[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_subwords_serve_what_the_vocabulary_lacks(gensim_vectors: FastTextKeyedVectors) -> None:
    words = words_with_subwords(gensim_vectors.vectors_ngrams)
    assert words.split("the zither of double bass") == (["double_bass"], ["zither"], [])
    raw = gensim_vectors.get_vector("zither", norm=True)
    assert words.subwords is not None
    served = words.vector("zither")
    np.testing.assert_allclose(served, raw - words.subwords.mean, atol=0.02)
    at = words.vocabulary.ids["double_bass"]
    expected = words.weights[at] * words.vector("double_bass") + served
    np.testing.assert_allclose(words.encode(["zither double bass"])[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_without_subwords_an_unknown_word_is_an_error() -> None:
    words = WordVectors.from_floats(["guitar"], np.ones((1, 4)), np.ones(1), kind="word2vec", source="x")
    with pytest.raises(UnknownWordsError, match="did you mean guitar"):
        words.encode(["guitr"])
    assert words.encode([]).shape == (0, 4)


def test_neighbours_are_sorted_by_cosine() -> None:
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0.05]])
    shares = np.full(4, 0.25)
    words = WordVectors.from_floats(["a", "b", "c", "d"], vectors, shares, kind="word2vec", source="x")
    target = words.vector("a")
    cosines = {w: words.vector(w) @ target / np.linalg.norm(words.vector(w)) / np.linalg.norm(target) for w in "bcd"}
    near = words.neighbours(target, count=9, exclude=["a"])
    assert [token for token, _ in near] == sorted(cosines, key=lambda w: -cosines[w])
    np.testing.assert_allclose([c for _, c in near], sorted(cosines.values(), reverse=True), atol=1e-5)


@pytest.mark.parametrize("with_subwords", [False, True])
def test_a_file_holds_all_that_was_saved(
    tmp_path: Path, gensim_vectors: FastTextKeyedVectors, with_subwords: bool
) -> None:
    words = words_with_subwords(gensim_vectors.vectors_ngrams)
    if not with_subwords:
        words = WordVectors(words.vocabulary, words.codes, words.scales, words.weights, None, "glove", "é")
    words.save(tmp_path / "my.vectors")
    again = WordVectors.load(tmp_path / "my.vectors")
    assert again.vocabulary.tokens == words.vocabulary.tokens
    assert (again.kind, again.source, len(again), again.dim) == (words.kind, words.source, 5, 6)
    phrases = ["double bass", "rain zither", "zither"] if with_subwords else ["double bass", "rain zither"]
    np.testing.assert_array_equal(again.encode(phrases), words.encode(phrases))
    again.save(tmp_path / "again.vectors")
    assert (tmp_path / "again.vectors").read_bytes() == (tmp_path / "my.vectors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.vectors", "my.vectors"]


@pytest.mark.parametrize("damage", ["cut", "text", "tensor", "twice", "nan", "buckets"])
def test_a_damaged_file_is_refused(tmp_path: Path, gensim_vectors: FastTextKeyedVectors, damage: str) -> None:
    path = tmp_path / "my.vectors"
    words = words_with_subwords(gensim_vectors.vectors_ngrams)
    if damage == "nan":
        words.scales[3] = np.nan
    words.save(path)
    metadata = {"earmark_words": json.dumps({"version": 1})}
    tensors = load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "text":
        path.write_text("no words\n")
    elif damage == "tensor":
        save_file({**tensors, "words.codes": tensors["words.codes"][:-1]}, path, metadata=metadata)
    elif damage == "twice":
        tokens = b"[PAD]\n[UNK]\na\na\nb\nc\nd\n"
        save_file({**tensors, "words.tokens": np.frombuffer(tokens, np.uint8)}, path, metadata=metadata)
    elif damage == "buckets":
        save_file({**tensors, "subwords.codes": tensors["subwords.codes"][:-1]}, path, metadata=metadata)
    with pytest.raises(WordVectorsError, match=r"my\.vectors is not a word-vector file, or is damaged"):
        WordVectors.load(path)


def test_other_files_and_folders_are_refused(tmp_path: Path) -> None:
    save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WordVectorsError, match="not a word-vector file of this version"):
        WordVectors.load(tmp_path / "other.safetensors")
    with pytest.raises(WordVectorsError, match="has no model"):
        WordVectors.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        WordVectors.load(tmp_path / "missing.vectors")


def test_vectors_that_are_not_finite_are_refused() -> None:
    vectors = np.array([[1.0, 2.0], [np.nan, 1.0]])
    with pytest.raises(WordVectorsError, match="the vector of 'b' is not finite"):
        WordVectors.from_floats(["a", "b"], vectors, np.full(2, 0.5), kind="glove", source="x")
    with pytest.raises(WordVectorsError, match="has no words"):
        WordVectors.from_floats([], np.zeros((0, 2)), np.zeros(0), kind="glove", source="x")


def test_a_models_words_are_read_from_its_folder() -> None:
    phrases = ["acoustic guitar", "double bass and drums"]
    text = TextEncoder.load()
    np.testing.assert_array_equal(WordVectors.load(DEFAULT_MODEL_DIR).encode(phrases), text.phrase_vectors(phrases))


def test_a_models_subwords_serve_unknown_words(tmp_path: Path) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(DEFAULT_MODEL_DIR, model_dir)
    plain = TextEncoder.load(model_dir)
    assert plain.unknown_words("zzqx guitar") == ["zzqx"]
    dim = plain.phrase_vectors(["guitar"]).shape[1]
    buckets = np.random.default_rng(0).normal(size=(20, dim)).astype(np.float32)
    codes, scales = quantised(buckets)
    subwords = Subwords(codes, scales, np.zeros(dim, np.float32), 3, 6)
    save_file(subwords.tensors(), model_dir / SUBWORDS_FILE)
    config = json.loads((model_dir / "config.json").read_text())
    config["subwords_sha256"] = hashlib.sha256((model_dir / SUBWORDS_FILE).read_bytes()).hexdigest()
    (model_dir / "config.json").write_text(json.dumps(config))
    write_checksums(model_dir)

    served = TextEncoder.load(model_dir)
    assert served.unknown_words("zzqx guitar") == []
    np.testing.assert_allclose(served.phrase_vectors(["zzqx"])[0], subwords.centred("zzqx"), atol=1e-6)
    word_vectors = WordVectors.load(model_dir)
    assert word_vectors.split("zzqx") == ([], ["zzqx"], [])
    np.testing.assert_array_equal(word_vectors.encode(["zzqx"]), served.phrase_vectors(["zzqx"]))
    np.testing.assert_array_equal(served.encode(["guitar"]), plain.encode(["guitar"]))
    assert served.encode(["zzqx"]).shape == (1, served.dim)

    (model_dir / SUBWORDS_FILE).write_bytes(b"x")
    with pytest.raises(ModelDirError, match="damaged or was changed"):
        TextEncoder.load(model_dir)
    (model_dir / SUBWORDS_FILE).unlink()
    with pytest.raises(ModelDirError, match=f"lacks {SUBWORDS_FILE}"):
        TextEncoder.load(model_dir)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a Git LFS pointer"),
        (b"<html><body>404</body></html>", "is a web page"),
        (b"guitar 1 2 3\n", "or read another tool's file by `retrieve word-vectors import`"),
        (b"", "is not a word-vector file, or is damaged"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "my.vectors").write_bytes(content)
    with pytest.raises(WordVectorsError, match=reason):
        WordVectors.load(tmp_path / "my.vectors")
