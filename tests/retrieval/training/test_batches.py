"""Batches: the same number gives the same batch, the masks say what they should, the bank is what mining sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_helpers import RATE_HZ, tagged_clips, words_file

from encoders.text.word_vectors import WordVectors
from retrieval.datasets.base import DatasetError
from retrieval.datasets.waveforms import WaveformStore
from retrieval.training.batches import Batch, BatchMaker
from retrieval.training.config import BatchConfig, TrainConfig
from retrieval.training.labels import LabelTable, known_tags, label_table, synonym_matrix
from retrieval.training.memory_bank import MemoryBank
from retrieval.training.mining import Miner

SETTINGS = BatchConfig(size=6, crop_samples=RATE_HZ, seed=5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[WaveformStore, LabelTable]:
    folder = tmp_path_factory.mktemp("batches")
    dataset = tagged_clips(folder / "clips", n=16)
    tags = dataset.tags
    alike = np.eye(len(tags), dtype=bool)
    low, middle = tags.index("low"), tags.index("middle")
    alike[low, middle] = alike[middle, low] = True
    sounds = WaveformStore.open(dataset.clips, folder / "store", sample_rate_hz=RATE_HZ)
    return sounds, LabelTable.of(tags, dataset.truth(tags), alike)


def maker(store: tuple[WaveformStore, LabelTable], settings: BatchConfig = SETTINGS, **options: object) -> BatchMaker:
    sounds, labels = store
    options.setdefault("miner", Miner("random", labels.has_tag, labels.excluded))
    return BatchMaker(settings, labels, sounds, **options)


def same(a: Batch, b: Batch) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)


@pytest.mark.parametrize("clip_sampling", ["random", "balanced"])
@pytest.mark.parametrize("tag_sampling", ["one", "all", "stochastic"])
def test_a_batch_follows_from_its_number(store: tuple, clip_sampling: str, tag_sampling: str) -> None:
    settings = replace(SETTINGS, clip_sampling=clip_sampling, tag_sampling=tag_sampling, mixup=0.5)
    first, second = maker(store, settings), maker(store, settings)
    batch = second.make(3, 1)
    assert same(first.make(3, 1), batch)
    assert not same(first.make(3, 0), batch) and not same(first.make(2, 1), batch)
    assert len(batch.clips) == 6 == len(set(batch.clips)) and batch.waveforms.shape == (6, RATE_HZ)
    assert list(batch.tags) == sorted(set(batch.tags))


def test_targets_and_unknown_pairs_are_those_of_the_labels(store: tuple) -> None:
    _, labels = store
    batch = maker(store).make(0, 0)
    for i, clip in enumerate(batch.clips):
        own = {labels.tags[k] for k in np.flatnonzero(labels.has_tag[clip])}
        for column in batch.tags:
            tag = labels.tags[column]
            assert batch.targets[i, column] == (tag in own)
            near = {"low": "middle", "middle": "low"}.get(tag)
            assert batch.unknown[i, column] == (tag not in own and near in own)


def test_a_mixture_has_shares_of_its_clips_labels(store: tuple) -> None:
    _, labels = store
    settings = replace(SETTINGS, size=8, mined_share=0.0, mixup=1.0)
    seen = 0
    for index in range(20):
        batch = maker(store, settings).make(index, 0)
        of_clips = labels.has_tag[batch.clips]
        assert ((batch.targets > 0) >= of_clips).all() and (batch.targets[of_clips] >= 0.5).all()
        assert (batch.unknown >= 0).all() and (batch.targets + batch.unknown <= 1).all()
        synonyms = labels.excluded[batch.clips] & ~of_clips
        # At least half of a mixture is the clip itself, and stays unknown also where the other clip has the tag.
        assert (batch.unknown[synonyms] >= 0.5).all()
        seen += int(((batch.targets > 0) & (batch.unknown > 0)).sum())
    assert seen


@pytest.mark.parametrize("size", [3, 4, 5, 6, 7, 16, 20])
@pytest.mark.parametrize("n_processes", [1, 2, 3])
def test_every_clip_comes_once_an_epoch(store: tuple, size: int, n_processes: int) -> None:
    settings = replace(SETTINGS, size=size, mined_share=0.0, mined_tags=0)
    makers = [maker(store, settings, process=process, n_processes=n_processes) for process in range(n_processes)]
    assert len({len(made) for made in makers}) == 1  # every process takes as many steps
    for epoch in (0, 1):
        drawn = [made.make(epoch, index).clips for index in range(len(makers[0])) for made in makers]
        whole, filled = divmod(16, size)
        once = [clip for batch in drawn[:whole] for clip in batch.tolist()]
        assert len(once) == len(set(once)) == whole * size
        assert set(np.concatenate(drawn).tolist()) == set(range(16))
        assert len(drawn) - whole - bool(filled) < n_processes  # no more is repeated than fills the last round


def test_tags_follow_the_rule(store: tuple) -> None:
    _, labels = store
    made = maker(store, replace(SETTINGS, size=4, mined_share=0.0, mined_tags=0, tag_sampling="one"))
    assert all(len(made.make(0, i).tags) <= len(made.make(0, i).clips) for i in range(len(made)))
    every = maker(store, replace(SETTINGS, size=4, mined_share=0.0, mined_tags=0)).make(0, 0)
    assert set(every.tags) == set(np.flatnonzero(labels.has_tag[every.clips].any(0)))


def test_no_batch_has_a_single_tag(store: tuple) -> None:
    settings = replace(SETTINGS, size=2, mined_share=0.0, mined_tags=0, tag_sampling="one")
    for index in range(8):
        assert len(maker(store, settings).make(0, index).tags) >= 2


def test_a_tagger_gets_all_tags_and_no_negatives(store: tuple) -> None:
    batch = maker(store, replace(SETTINGS, size=4), miner=None).make(0, 0)
    assert batch.tags.tolist() == [0, 1, 2, 3] and len(batch.clips) == 4


def test_mined_clips_and_tags_come_from_the_vectors(store: tuple) -> None:
    _, labels = store
    rng = np.random.default_rng(0)
    clips, tags = (rng.standard_normal((n, 8)).astype(np.float32) for n in (16, 4))
    clips[:8] = 0  # never embedded: not to be mined
    miner = Miner("hard", labels.has_tag, labels.excluded)
    made = maker(store, replace(SETTINGS, mined_share=0.5), miner=miner)
    plain = maker(store, replace(SETTINGS, size=3, mined_share=0.0), miner=miner).make(0, 0)
    batch = made.make(0, 0, (clips, tags))
    mined = set(batch.clips) - set(plain.clips)
    assert set(plain.clips) <= set(batch.clips) and mined and min(mined) >= 8


def test_the_bank_is_mined_as_it_was_when_frozen(tmp_path: Path) -> None:
    bank = MemoryBank(4, 3)
    assert bank.snapshot is None and len(bank.known) == 0
    bank.update(np.array([1, 3]), np.eye(3, dtype=np.float32)[:2])
    bank.take_snapshot(np.ones((2, 3)))
    bank.update(np.array([1]), np.array([[0.0, 0.0, 1.0]], np.float32))
    assert bank.snapshot is not None and bank.snapshot[0][1].tolist() == [1, 0, 0]
    bank.save(tmp_path)
    again = MemoryBank(4, 3)
    again.load(tmp_path)
    assert again.snapshot is not None and again.clips.tolist() == bank.clips.tolist()
    np.testing.assert_array_equal(again.snapshot[0], bank.snapshot[0])


def test_mining_looks_beside_what_all_clips_have_in_common() -> None:
    bank = MemoryBank(3, 2)
    bank.update(np.array([0, 2]), np.array([[0.6, 0.8], [0.8, 0.6]], np.float32))
    bank.take_snapshot(np.eye(2), centre=np.array([0.5, 0.8]))
    assert bank.snapshot is not None
    expected = [[1, 0], [0, 0], np.array([0.3, -0.2]) / np.hypot(0.3, 0.2)]
    np.testing.assert_allclose(bank.snapshot[0], np.array(expected), atol=1e-6)
    np.testing.assert_allclose(bank.clips[0], [0.6, 0.8], rtol=1e-6)


def test_labels_out_of_the_vocabulary_are_named(tmp_path: Path) -> None:
    words = WordVectors.load(words_file(tmp_path))
    assert known_tags(words, ["low", "high", "xyzzy"], drop_unknown=True) == (["low", "high"], ["xyzzy"])
    with pytest.raises(DatasetError, match="only one label, 'low'"):
        known_tags(words, ["low", "xyzzy"], drop_unknown=True)
    with pytest.raises(DatasetError, match="1 of 2 labels are out of the vocabulary: 'xyzzy'"):
        known_tags(words, ["low", "xyzzy"], drop_unknown=False)
    with pytest.raises(DatasetError, match="1 of 1 labels are out"):
        known_tags(words, ["xyzzy"], drop_unknown=True)


def test_near_synonyms_by_text_are_no_negatives(tmp_path: Path) -> None:
    words = WordVectors.load(words_file(tmp_path))
    vectors = words.encode(["high", "treble", "low"])
    assert synonym_matrix(vectors, threshold=0.9).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]
    dataset = tagged_clips(tmp_path / "clips")
    table = label_table(dataset, ["high", "low"], vectors[[0, 2]], synonym_cosine=0.9, missing_labels="unknown")
    np.testing.assert_array_equal(table.excluded, table.has_tag)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "regression"}, "--objective regression: choose one of contrastive, bce"),
        ({"negatives": "easy"}, "--negatives easy"),
        ({"objective": "bce"}, "--loss infonce does not go with --objective bce"),
    ],
)
def test_plans_that_cannot_be_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**({"objective": "contrastive", "backbone": "mn04", "out": Path("x")} | options))  # type: ignore[arg-type]
