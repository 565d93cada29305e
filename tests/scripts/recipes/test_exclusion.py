"""Held-out labels of the recipe: what reveals them, and that nothing of it remains in the training data."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.text.vocabulary import PAD_TOKEN, UNKNOWN_TOKEN, Vocabulary
from encoders.text.word_vectors import WordVectors
from retrieval.datasets.label_leakage import LeakageFilter
from scripts.recipes.default.collection import Collection, Shard, make_collection
from scripts.recipes.default.corpus import Corpus
from scripts.recipes.default.exclusion import check_resumed, exclude_labels, reduced_head
from scripts.recipes.default.phrase_sampling import make_phrase_book
from scripts.recipes.default.settings import DefaultRun
from scripts.recipes.default.stages import _short_name, _tag_names

WORDS = (
    *("alto", "saxophone", "sax", "flute", "acoustic", "guitar", "acoustic_guitar", "church", "bell", "hiccup"),
    *("hi_hat", "wood_block", "woodblock", "violin", "fiddle", "crying", "baby", "cry", "rock", "electronic", "music"),
    *("electronica", "crackling", "fire", "crackle", "piano", "mellow", "sneeze", "sneezing"),
)
VOCABULARY = Vocabulary([PAD_TOKEN, UNKNOWN_TOKEN, *WORDS])
AUDIOSET = ["Saxophone", "Violin, fiddle", "Acoustic guitar", "Guitar", "Church bell", "Flute"]
MUSIC = ["sax", "rock", "mellow"]


def word_vectors_of() -> WordVectors:
    """Every word has a direction of its own, but for "violin", which is near "fiddle" (cosine 0.8)."""
    codes = np.zeros((len(VOCABULARY), len(VOCABULARY)), np.int8)
    np.fill_diagonal(codes, 100)
    violin, fiddle = VOCABULARY.ids["violin"], VOCABULARY.ids["fiddle"]
    codes[violin, [violin, fiddle]] = 60, 80
    used = np.arange(len(codes)) > 1
    return WordVectors(VOCABULARY, codes * used[:, None], used.astype(np.float32), used.astype(np.float32))


WORD_VECTORS = word_vectors_of()


def shard(name: str, labels: list[tuple[str, ...]]) -> Shard:
    rng = np.random.default_rng(len(labels))
    return Shard(
        name=name,
        features=np.zeros((len(labels), 2), np.float16),
        clip_of=np.arange(len(labels)),
        music=rng.normal(size=(len(labels), len(MUSIC))),
        labels=labels,
        groups=[f"{name}{i}" for i in range(len(labels))],
    )


@pytest.fixture
def collection() -> Collection:
    music = shard("music", [("alto saxophone", "mellow"), ("rock", "guitar"), ("piano",)])
    return make_collection([music, shard("single", [("flute",), ("saxes",), ("fiddle",)])], held_out=0.0)


@pytest.mark.parametrize(
    ("label", "phrase"),
    [
        ("saxophone", "alto saxophone"),
        ("saxophone", "Saxophone"),
        ("saxophone", "tenor sax"),
        ("saxophone", "saxes"),
        ("flute", "flutes"),
        ("church bells", "Church bell"),
        ("church bell", "big church bells"),
        ("hi-hat", "hihat"),
        ("hi-hat", "closed high-hats"),
        ("wood block", "woodblocks"),
        ("acoustic guitar", "acoustic rhythm guitar"),
        ("sneezing", "Sneeze"),
        ("sneeze", "he sneezed"),
        ("crying baby", "Baby cry, infant cry"),
        ("electronic", "Electronica"),
        ("rock", "Rock and roll"),
        ("fiddle", "violin"),  # by its vector
        ("violin", "folk music, fiddle"),  # by the vector of a name that it joins
    ],
)
def test_a_phrase_that_reveals_a_label(label: str, phrase: str) -> None:
    assert LeakageFilter([label], WORD_VECTORS).leaks([phrase]) == {phrase: (label,)}


@pytest.mark.parametrize(
    ("label", "phrase"),
    [
        ("acoustic guitar", "guitar"),
        ("acoustic guitar", "acoustic"),
        ("saxophone", "flute"),
        ("church bells", "bell"),
        ("crackling fire", "Crackle"),
        ("rock", "rocket"),
        ("electronic", "electric guitar"),
        ("sneezing", "Hiccup"),
    ],
)
def test_a_phrase_that_does_not(label: str, phrase: str) -> None:
    assert LeakageFilter([label], WORD_VECTORS).leaks([phrase]) == {}


def test_the_threshold_of_near_synonyms() -> None:
    rule = LeakageFilter(["fiddle"], WORD_VECTORS)
    assert rule.cosines(["violin", "unheard of", "flute"])[:, 0].tolist() == pytest.approx([0.8, -1, 0], abs=1e-6)
    assert LeakageFilter(["fiddle"], WORD_VECTORS, synonym_cosine=0.81).leaks(["violin"]) == {}
    assert rule.leaks(["violin"]) == {"violin": ("fiddle",)}


def test_only_the_known_words_of_a_label_count() -> None:
    rule = LeakageFilter(["xyzzy saxophone"], WORD_VECTORS)
    assert list(rule.leaks(["saxophone", "xyzzy"])) == ["saxophone"]


def test_nothing_named_after_a_held_out_label_is_left(collection: Collection) -> None:
    held_out = ["saxophone", "violin", "acoustic guitar", "rock"]
    left = exclude_labels(held_out, collection, [*AUDIOSET, *MUSIC], WORD_VECTORS)
    assert left.class_names == ["Guitar", "Church bell", "Flute", "mellow"]
    assert left.collection.labels == [("mellow",), ("guitar",), ("piano",), ("flute",), (), ()]
    assert left.collection.vocabularies["single"] == {"flute"}
    labels = sorted({label for clip in left.collection.labels for label in clip})
    corpus = Corpus(
        sentences=[],
        phrases=frozenset(),
        class_names=AUDIOSET,
        aspects=Counter({"mellow guitar": 3, "rock music": 5, "mellow alto saxophone": 2}),
        caption_words=Counter({"sax": 9, "saxophones": 9, "piano": 9}),
    )
    book = make_phrase_book(corpus, WORD_VECTORS, names=left.class_names, extra=labels, keep=left.keep)
    assert left.leakage.leaks(book.phrases) == {}
    assert {"mellow guitar", "piano", "acoustic", "guitar", "church"} <= set(book.phrases)
    named = {"rock", "rock music", "sax", "saxophone", "saxophones", "violin", "fiddle", "acoustic guitar"}
    assert not named & set(book.phrases)
    assert book.share.sum() == pytest.approx(1)
    tags = _tag_names([*map(_short_name, left.class_names), *labels], VOCABULARY)
    assert tags == ["church bell", "flute", "guitar", "mellow", "piano"]
    record = left.record()
    assert record["synonym_cosine"] == 0.75
    assert list(record["labels"]) == held_out
    assert record["labels"]["saxophone"] == {
        "clip_labels": ["alto saxophone", "saxes"],
        "classes": ["Saxophone", "sax"],
        "nearest_class_left": ["Guitar", 0.0],
        # of aspects, caption words and vocabulary; "sax" is in both of the latter and counts once
        "phrases": len({"mellow alto saxophone", "sax", "saxophones", "saxophone"}),
    }
    assert record["labels"]["violin"]["classes"] == ["Violin, fiddle"]
    assert record["labels"]["acoustic guitar"]["nearest_class_left"] == ["Guitar", 0.0]


def test_columns_and_head_rows_are_those_of_the_classes_left(collection: Collection) -> None:
    names = [*AUDIOSET, *MUSIC]
    left = exclude_labels(["saxophone", "rock"], collection, names, WORD_VECTORS)
    columns = [names.index(name) for name in left.class_names]
    assert columns == [1, 2, 3, 4, 5, 8]
    assert left.kept.tolist() == [i in columns for i in range(len(names))]
    np.testing.assert_array_equal(left.collection.music, collection.music[:, [2]])
    np.testing.assert_array_equal(left.collection.share, collection.share)
    torch.manual_seed(0)
    head = torch.nn.Sequential(
        torch.nn.Linear(7, 5), torch.nn.Hardswish(), torch.nn.Dropout(0.5), torch.nn.Linear(5, len(AUDIOSET))
    ).eval()
    reduced, sounds = left.head(head), torch.randn(4, 7)
    torch.testing.assert_close(reduced(sounds), head(sounds)[:, columns[:5]])
    last = reduced[3]
    assert isinstance(last, torch.nn.Linear)
    assert last.out_features == 5
    assert reduced[0] is head[0]
    torch.testing.assert_close(reduced_head(head, np.arange(6) == 2)(sounds), head(sounds)[:, [2]])


def test_nothing_changes_when_nothing_is_held_out(collection: Collection) -> None:
    assert {field.name: field.default for field in dataclasses.fields(DefaultRun)}["held_out_labels"] == ()
    names = [*AUDIOSET, *MUSIC]
    left = exclude_labels((), collection, names, WORD_VECTORS)
    assert left.collection is collection
    assert left.class_names == names
    assert left.kept.all()
    head = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)), torch.nn.Linear(2, len(AUDIOSET)))
    state = torch.get_rng_state()
    assert left.head(head) is head
    assert torch.equal(state, torch.get_rng_state())
    corpus = Corpus([], frozenset(), AUDIOSET, Counter({"rock music": 5}), Counter({"sax": 9}))
    with_keep = make_phrase_book(corpus, WORD_VECTORS, names=names, extra=["flute"], keep=left.keep)
    without = make_phrase_book(corpus, WORD_VECTORS, names=names, extra=["flute"])
    assert with_keep.phrases == without.phrases
    np.testing.assert_array_equal(with_keep.share, without.share)
    assert left.record()["labels"] == {}


def test_a_label_that_cannot_be_held_out_is_refused(collection: Collection) -> None:
    names = [*AUDIOSET, *MUSIC]
    with pytest.raises(ValueError, match="the vocabulary has no word of these labels to hold out: shehnai"):
        exclude_labels(["flute", "shehnai"], collection, names, WORD_VECTORS)
    with pytest.raises(ValueError, match="no clip and no teacher's class names these labels to hold out: hi-hat"):
        exclude_labels(["flute", "hi-hat"], collection, names, WORD_VECTORS)
    with pytest.raises(ValueError, match="leaves the teachers no class; hold out fewer"):
        exclude_labels(["flute"], collection, ["Flute"], WORD_VECTORS)


def test_labels_may_be_revealed_by_the_same_phrases(collection: Collection) -> None:
    left = exclude_labels(["saxophone", "alto saxophone"], collection, [*AUDIOSET, *MUSIC], WORD_VECTORS)
    assert left.removed["alto saxophone"]["clip_labels"] == ["alto saxophone"]
    assert left.removed["saxophone"]["clip_labels"] == ["alto saxophone", "saxes"]


def test_the_model_of_a_run_with_other_labels_is_not_resumed(tmp_path: Path) -> None:
    check_resumed(tmp_path, ())
    assert list(tmp_path.iterdir()) == []
    check_resumed(tmp_path, ("flute",))
    check_resumed(tmp_path, ("flute", "rock"))  # nothing is trained yet
    (tmp_path / "model").mkdir()
    check_resumed(tmp_path, ("rock", "flute"))
    for other in ((), ("flute",)):
        with pytest.raises(ValueError, match="has the model of a run with other held-out labels; delete it or change"):
            check_resumed(tmp_path, other)
