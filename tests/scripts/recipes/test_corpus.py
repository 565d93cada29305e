"""The corpus from miniature files in the real formats, and word vectors trained on it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from encoders.text.train import WordVectorSettings, train_word_vectors
from scripts.recipes.default.corpus import Corpus, join_phrases, read_corpus, training_sentences

PAIRS = (("banjo", "bluegrass"), ("violin", "orchestra"), ("synth", "techno"))


def zipped(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


@pytest.fixture(scope="module")
def text_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    rows = [
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval"
    ]
    for i in range(1200):
        a, b = PAIRS[i % 3]
        rows.append(f"""x,0,10,"/m/1","['{a} tune', '{b}', 'double bass']","A {a} plays {b} music",1,False,True""")
    zipped(folder / "musiccaps.csv.gz", "\n".join(rows) + "\n")
    zipped(folder / "audiocaps.csv.gz", "split,id,caption\n" + "train,1,A dog barks\n" * 30)
    entry = {"id": "/m/1", "name": "Double bass", "description": "A large violin.", "child_ids": []}
    (folder / "audioset_ontology.json").write_text(json.dumps([entry]), encoding="utf-8")
    (folder / "audioset_classes.csv").write_text('index,mid,display_name\n0,/m/1,"Double bass"\n', encoding="utf-8")
    lines = [
        "synset\tpos\tmembers\thypernyms_or_similar\tdefinition\texamples",
        "1-n\tn\tdog|hound\t2-n\ta 'barking' \"pet\t",
    ]
    zipped(
        folder / "english_wordnet.tsv.gz", "\n".join([*lines, "2-n\tn\tanimal\t\ta living thing\ta wild animal"]) + "\n"
    )
    return folder


@pytest.fixture(scope="module")
def corpus(text_dir: Path) -> Corpus:
    return read_corpus(text_dir, seed=3)


def test_everything_is_read(corpus: Corpus) -> None:
    assert corpus.class_names == ["Double bass"]
    assert corpus.aspects["double bass"] == 1200
    assert corpus.caption_words["barks"] == 30
    assert ("double", "bass") in corpus.phrases
    assert any(sentence[0] == "shoegaze" for sentence in corpus.sentences)
    assert ["dog", "hound", "animal", "a", "barking", "pet"] in corpus.sentences


def test_the_same_seed_gives_the_same_corpus(corpus: Corpus, text_dir: Path) -> None:
    assert read_corpus(text_dir, seed=3).sentences == corpus.sentences
    assert read_corpus(text_dir, seed=4).sentences != corpus.sentences


def test_phrases_are_joined_longest_first() -> None:
    phrases = frozenset({("a", "b"), ("a", "b", "c")})
    assert join_phrases(list("xabca"), phrases) == ["x", "a_b_c", "a"]


def test_a_sentence_with_phrases_is_read_twice() -> None:
    corpus = Corpus([["a", "b", "c"], ["c", "d"]], frozenset({("a", "b")}), [])
    assert training_sentences(corpus) == [["a", "b", "c"], ["c", "d"], ["a_b", "c"]]


def test_words_of_the_same_sentences_have_near_vectors(corpus: Corpus) -> None:
    settings = WordVectorSettings(dim=16, epochs=10, min_count=5, subsampling=1e-2, seed=1)
    word_vectors = train_word_vectors(training_sentences(corpus), settings, source="corpus")
    near, far = (word_vectors.encode(words) for words in (PAIRS[0], ("banjo", "techno")))
    assert near[0] @ near[1] > far[0] @ far[1]
    assert word_vectors.split("double bass")[0] == ["double_bass"]
