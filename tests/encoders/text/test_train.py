"""A folder of text into sentences, and word vectors trained on them."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from encoders.text.corpus import read_sentences, text_files
from encoders.text.coverage import coverage, nearest
from encoders.text.train import WordVectorSettings, train_word_vectors
from encoders.text.word_vectors import WordVectorsError

LOUD, SOFT = ["drums", "metal", "shout", "engine"], ["harp", "lullaby", "whisper", "breeze"]


def two_topics(n_sentences: int = 400) -> list[list[str]]:
    """Sentences of four words, all loud or all soft."""
    rng = random.Random(0)
    return [rng.sample(rng.choice([LOUD, SOFT]), 4) for _ in range(n_sentences)]


def test_lines_and_text_columns_are_read_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeffSad Piano music\n\nalone\nhip-hop beat\n", encoding="utf-8")
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("a dog barks\n")
    rows = (
        "id,start_s,url,caption,tags\n"
        "x1 y2,30,http://a.b/c,\"a soft harp\nplays\",\"['slow harp', 'calm']\"\n"
        "z8-q,40,http://a.b/d,loud drums,one tag\n"
        "short\n"
    )
    (tmp_path / "c.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "deeper").mkdir()
    with gzip.open(tmp_path / "deeper" / "d.CSV.GZ", "wt", encoding="utf-8") as file:
        file.write("text,n\nrain on a roof,1\n")
    (tmp_path / "notes.md").write_text("not read at all\n")
    seen: list[tuple[int, int]] = []
    assert read_sentences(tmp_path, on_file=lambda done, total: seen.append((done, total))) == [
        ["sad", "piano", "music"],
        ["hip", "hop", "beat"],
        ["a", "dog", "barks"],
        ["a", "soft", "harp", "plays"],
        ["slow", "harp", "calm"],
        ["loud", "drums"],
        ["one", "tag"],
        ["rain", "on", "a", "roof"],
    ]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [path.name for path in text_files(tmp_path)] == ["a.txt", "b.txt.gz", "c.csv", "d.CSV.GZ"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, b"", "has no .txt"),
        ("a.txt", b"one\ntwo\n", "no line or cell has two words"),
        ("a.txt", b"caf\xe9 music\n", r"a\.txt is not UTF-8 text"),
        ("a.csv", b"text\n" + b"loud drums " * 20000, r"a\.csv cannot be read as CSV"),
        ("a.txt.gz", gzip.compress(b"a dog barks\n" * 99, mtime=0)[:-9], r"a\.txt\.gz is a damaged \.gz"),
        ("a.txt.gz", b"no gzip", r"a\.txt\.gz is a damaged \.gz"),
    ],
)
def test_text_that_cannot_be_read_is_named(tmp_path: Path, name: str | None, content: bytes, message: str) -> None:
    if name is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WordVectorsError, match=message):
        read_sentences(tmp_path)
    with pytest.raises(WordVectorsError, match="is not a folder"):
        read_sentences(tmp_path / "missing")


@pytest.mark.parametrize("kind", ["word2vec", "fasttext"])
def test_words_of_one_topic_come_near_each_other(kind: str) -> None:
    settings = WordVectorSettings(kind=kind, dim=16, epochs=20, subsampling=0, buckets=20_000, seed=3)
    epochs: list[tuple[int, int]] = []
    words = train_word_vectors(
        two_topics(), settings, source="t", on_epoch=lambda done, total: epochs.append((done, total))
    )
    assert (words.kind, words.dim, len(words)) == (kind, 16, 8)
    assert epochs == [(n, 20) for n in range(1, 21)]
    for word in (*LOUD, *SOFT):
        others = set(LOUD if word in LOUD else SOFT) - {word}
        assert {near for near, _ in nearest(words, word, count=3)} == others


def test_the_same_seed_gives_the_same_vectors_and_another_seed_others() -> None:
    settings = WordVectorSettings(dim=8, epochs=2)
    once, again = (train_word_vectors(two_topics(), settings, source="t") for _ in range(2))
    np.testing.assert_array_equal(once.codes, again.codes)
    assert once.vocabulary.tokens == again.vocabulary.tokens
    other = train_word_vectors(two_topics(), WordVectorSettings(dim=8, epochs=2, seed=1), source="t")
    assert (once.codes != other.codes).any()


def test_weights_follow_the_counts() -> None:
    sentences = [["common", "word"]] * 30 + [["common", "rare"]] * 10
    words = train_word_vectors(sentences, WordVectorSettings(dim=4, epochs=1, sif_a=0.01), source="t")
    weights = {token: words.weights[words.vocabulary.ids[token]] for token in ("common", "word", "rare")}
    for token, count in (("common", 40), ("word", 30), ("rare", 10)):
        assert weights[token] == pytest.approx(0.01 / (0.01 + count / 80), rel=1e-5)


def test_frequent_neighbours_become_a_group() -> None:
    rng = random.Random(0)
    filler = [f"filler{i}" for i in range(40)]
    sentences = [[*rng.sample(filler, 3), "double", "bass", *rng.sample(filler, 2)] for _ in range(60)]
    sentences += [rng.sample(filler, 5) for _ in range(200)]
    settings = WordVectorSettings(dim=4, epochs=1, phrases=True)
    assert train_word_vectors(sentences, settings, source="t").split("double bass") == (["double_bass"], [], [])
    plain = train_word_vectors(sentences, WordVectorSettings(dim=4, epochs=1), source="t")
    assert plain.split("double bass") == (["double", "bass"], [], [])


def test_what_cannot_be_learnt_is_said() -> None:
    with pytest.raises(WordVectorsError, match="no word occurs 5 times: lower --min-count"):
        train_word_vectors([["a", "dog"]], WordVectorSettings(), source="t")
    with pytest.raises(WordVectorsError, match="choose one of word2vec, fasttext"):
        WordVectorSettings(kind="glove")


def test_labels_are_sorted_by_what_is_known_of_them() -> None:
    sentences = two_topics(100)
    plain = train_word_vectors(sentences, WordVectorSettings(dim=4, epochs=1), source="t")
    labels = ["the harp", "harp and zither", "zither", "drums"]
    found = coverage(plain, labels)
    assert (found.known, found.partly, found.subwords, found.unknown) == (
        ("the harp", "drums"),
        ("harp and zither",),
        (),
        ("zither",),
    )
    fasttext = train_word_vectors(
        sentences, WordVectorSettings(kind="fasttext", dim=4, epochs=1, buckets=50), source="t"
    )
    found = coverage(fasttext, labels)
    assert (found.known, found.subwords) == (("the harp", "drums"), ("harp and zither", "zither"))
