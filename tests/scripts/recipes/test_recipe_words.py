"""Word vectors of the recipe: entries, sentence vectors with resumption, joined vectors, weights by sound."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from encoders.arrays import unit
from encoders.text.tokenizer import tokenize
from encoders.text.train import WordVectorSettings
from encoders.text.word_vectors import WordVectors
from scripts.recipes.default.corpus import Corpus
from scripts.recipes.default.sentence_vectors import CARRIERS, sentence_vectors
from scripts.recipes.default.sound_weights import labelled_captions, sound_information, word_weights
from scripts.recipes.default.vocabulary import vocabulary_entries
from scripts.recipes.default.words import join_vectors, make_word_vectors


def encode(sentences: Sequence[str]) -> np.ndarray:
    """In place of a sentence encoder: sums of a fixed random vector for each word [shape=(n, 20)]."""

    def of_word(word: str) -> np.ndarray:
        return np.random.default_rng([ord(letter) for letter in word]).normal(size=20)

    return unit(np.stack([np.sum([of_word(word) for word in tokenize(text)], axis=0) for text in sentences]))


@pytest.fixture
def text_dir(tmp_path: Path) -> Path:
    """Miniatures of the texts in their real formats."""
    folder = tmp_path / "text"
    folder.mkdir()
    lemmas = [f"lemma{i}" for i in range(400)]
    rows = ["synset\tpos\tmembers\thypernyms_or_similar\tdefinition\texamples"]
    rows += [f"1-n\tn\t{lemma}\t\ta thing\t" for lemma in lemmas]
    rows += ["2-a\ta\tpeaceful|at peace\t\tcalm\t", "3-n\tn\tx|a very long name of five\t\tnothing\t"]
    (folder / "english_wordnet.tsv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    (folder / "musicbrainz_instruments.tsv").write_text("name\tcomment\tdescription\nPan flute\t\t\nBanjo\t\t\n")
    (folder / "genres_tree.yaml").write_text(
        "- african:\n    - afrobeat\n    - coup\u00e9-d\u00e9cal\u00e9\n- drum & bass\n"
    )
    with gzip.open(folder / "musiccaps.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["audioset_positive_labels", "aspect_list", "caption"])
        writer.writeheader()
        for i in range(200):
            kind = ("guitar", "drums")[i % 2]
            caption = f"a nice {kind} recording"
            writer.writerow({"audioset_positive_labels": f"/m/{kind}", "aspect_list": "[]", "caption": caption})
    return folder


def test_entries_are_common_words_names_then_everything_else(text_dir: Path) -> None:
    entries, n_common = vocabulary_entries(["guitar", "banjo"], ["Violin, fiddle", "guitar"], text_dir)
    assert entries[:3] == ["guitar", "banjo", "violin_fiddle"] and n_common == 3
    assert {"pan_flute", "afrobeat", "african", "coupe_decale", "drum_and_bass", "at_peace", "lemma7"} <= set(entries)
    assert len(set(entries)) == len(entries)
    assert not {"x", "a_very_long_name_of_five"} & set(entries)


def test_a_vector_is_the_mean_over_the_carriers(tmp_path: Path) -> None:
    found = sentence_vectors(["double_bass"], encode, tmp_path / "vectors.npy")
    expected = encode([carrier.format("double bass") for carrier in CARRIERS]).mean(axis=0)
    assert np.allclose(found[0], expected, atol=1e-3)


def test_an_interrupted_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    entries = [f"word{i}" for i in range(2500)]
    calls: list[int] = []

    def interrupted(sentences: Sequence[str]) -> np.ndarray:
        calls.append(len(sentences))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(sentences)

    cache = tmp_path / "vectors.npy"
    with pytest.raises(KeyboardInterrupt):
        sentence_vectors(entries, interrupted, cache)
    calls.clear()
    calls.append(-1)  # the next calls are counted from here, and none of them is the third
    blocks: list[int] = []
    found = sentence_vectors(entries, encode, cache, on_block=lambda done, of: blocks.append(done))
    assert blocks == [2000, 2500]
    assert np.allclose(found, sentence_vectors(entries, encode, tmp_path / "whole.npy"))
    other = sentence_vectors(entries[::-1], encode, cache)
    assert np.allclose(other, found[::-1])  # a cache of other entries is made again


def test_joined_vectors_average_both_cosines_and_fill_what_is_missing() -> None:
    rng = np.random.default_rng(0)
    entries = [f"w{i}" for i in range(300)]
    sentences = rng.normal(size=(300, 160)).astype(np.float32)
    sentences[:, 40:] *= 0.01
    skip = unit(sentences[:, :40] @ rng.normal(size=(40, 16)) + 0.01)
    known = entries[:250]
    skip_gram = WordVectors.from_floats(known, skip[:250], np.full(250, 1 / 250), kind="word2vec", source="test")
    vectors, figures = join_vectors(entries, sentences, skip_gram)
    assert vectors.shape == (300, 16 + 128)
    assert np.allclose((vectors**2).sum(axis=1), 1, atol=1e-4)
    assert np.allclose(
        2 * vectors[:250, :16] @ vectors[0, :16],
        unit(skip_gram.rows(np.arange(2, 252))) @ unit(skip_gram.rows(np.array([2])))[0],
        atol=1e-4,
    )
    assert figures["known_to_skip_gram"] == 250 and figures["predicted_cosine"] > 0.9
    centred = unit(skip - skip[:250].mean(axis=0))
    assert (unit(vectors[250:, :16]) * centred[250:]).sum(axis=1).mean() > 0.8


def test_words_weigh_what_they_say_about_labels(text_dir: Path) -> None:
    information = sound_information(labelled_captions(text_dir))
    assert information["guitar"] > 0.5
    assert abs(information["nice"]) < 0.05
    weights = word_weights(["guitar", "nice", "recording", "the_guitar", "of_the", "unheard"], information)
    assert weights.tolist() == pytest.approx([1, 0.4, 0.02, 1, 0.02, 1], abs=0.03)


def test_a_run_makes_word_vectors_with_both_kinds_of_codes(text_dir: Path, tmp_path: Path) -> None:
    sentences = [["banjo", "bluegrass"], ["piano", "jazz"]] * 60
    corpus = Corpus(sentences, frozenset(), ["Banjo"])
    settings = WordVectorSettings(dim=8, epochs=2, min_count=2)
    records: list[dict] = []
    words = make_word_vectors(
        corpus, text_dir, tmp_path, names=["pan flute"], settings=settings, encode=encode, log=records.append
    )
    again = WordVectors.load(tmp_path / "word_vectors.safetensors")
    assert again.vocabulary.tokens == words.vocabulary.tokens
    assert len(again.codes) - 2 == 5 and again.products is not None
    assert np.allclose(again.encode(["banjo lemma3"]), words.encode(["banjo lemma3"]))
    assert records[-1]["entries"] == len(words)
