import builtins
import sys

import numpy as np
import pytest
from index_helpers import DIM, exact_top_k, new_index, spans, toward, track, units

from index import VectorIndex
from index.search import inner_products
from index.vectors import MappedParts


def oracle(index: VectorIndex, query: np.ndarray, *, top: int, per_segment: bool) -> list[tuple]:
    """All vectors, all scores, a full sort: (score, path, start_s)."""
    found = []
    for known in index.tracks():
        vectors = index.vectors(known.path)
        scores, rows = exact_top_k(vectors, query, k=len(vectors))
        segments = index.segments(known.path)
        hits = [(s, known.path, segments[r].start_s) for s, r in zip(scores.tolist(), rows.tolist(), strict=True)]
        found += hits if per_segment else hits[:1]
    return sorted(found, key=lambda hit: (-hit[0], hit[1], hit[2]))[:top]


def described(hits: list) -> list[tuple]:
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    return [(hit.score, hit.track.path, hit.start_s) for hit in hits]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Forty tracks of very different lengths, copies among them, several parts, some tracks removed."""
    with new_index(tmp_path_factory.mktemp("library"), max_part_rows=500) as index:
        rng = np.random.default_rng(3)
        for i in rng.permutation(40).tolist():
            n = int(rng.integers(1, 60)) if i else 700
            seed = i // 2 if i % 4 == 3 else 100 + i
            index.add(track(f"t{i:02d}"), spans(n), units(n, seed=seed))
        for i in (5, 12, 13, 30):
            index.remove(f"t{i:02d}")
        assert len(index._store.catalog.parts()) > 2 and index.stats().n_removed_rows > 0
        yield index


@pytest.mark.parametrize("per_segment", [False, True])
@pytest.mark.parametrize("top", [1, 3, 10, 36, 1000])
def test_equals_the_oracle(library, top, per_segment):
    for seed in range(8):
        query = units(1, seed=1000 + seed)[0]
        hits = library.search(query, top=top, per_segment=per_segment)
        assert described(hits) == oracle(library, query, top=top, per_segment=per_segment)


def test_equal_rows_score_the_same_bits_wherever_they_stand():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((4100, 257)).astype(np.float32)
    copies = [0, 1, 2, 3, 4, 5, 6, 7, 4095, 4096, 4099]
    vectors[copies] = vectors[0]
    query = rng.standard_normal(257).astype(np.float32)
    scores = inner_products(vectors, query)
    assert len(set(scores[copies].tolist())) == 1
    np.testing.assert_allclose(scores, vectors.astype(np.float64) @ query.astype(np.float64), rtol=1e-5)


def test_query_of_any_norm(library):
    query = units(1, seed=5)[0]
    ranking = [hit[1:] for hit in described(library.search(query, top=20))]
    for factor in (1e-3, 1e3):
        hits = library.search(query * np.float32(factor), top=20)
        assert [hit[1:] for hit in described(hits)] == ranking
        assert hits[0].score == pytest.approx(factor * library.search(query, top=1)[0].score, rel=1e-5)
    assert len(library.search(np.zeros(DIM), top=5)) == 5


def test_min_score(library):
    query = units(1, seed=1001)[0]
    everything = described(library.search(query, top=10_000, per_segment=True))
    for limit in (everything[0][0], everything[60][0], 0.0, -1.0, 2.0):
        hits = library.search(query, top=100, per_segment=True, min_score=limit)
        assert described(hits) == [hit for hit in everything if hit[0] >= limit][:100]


def test_allow_filters_tracks_exactly(library):
    query = units(1, seed=1002)[0]
    ranking = described(library.search(query, top=1000))
    wanted = {ranking[-1][1], ranking[-2][1], ranking[7][1]}
    hits = library.search(query, top=3, allow=lambda known: known.path in wanted)
    assert described(hits) == [hit for hit in ranking if hit[1] in wanted]
    assert library.search(query, allow=lambda known: False) == []
    assert library.search(query, per_segment=True, allow=lambda known: False) == []
    asked = []
    library.search(query, top=3, per_segment=True, allow=lambda known: asked.append(known.path) or known.path in wanted)
    assert len(asked) == len(set(asked))


def test_allow_may_ask_the_index(library):
    query = units(1, seed=1003)[0]
    hits = library.search(query, top=5, allow=lambda known: len(library.vectors(known.path)) > 10)
    assert len(hits) == 5 and all(len(library.segments(hit.track.path)) > 10 for hit in hits)


def test_one_track_with_thousands_of_good_segments_hides_nobody(tmp_path):
    with new_index(tmp_path) as index:
        for name in ("quiet", "quieter", "quietest"):
            index.add(track(name), spans(1), toward(1, 2 + len(name))[None])
        index.add(track("endless"), spans(5000), np.tile(toward(1, 0.01), (5000, 1)))
        hits = index.search(toward(1), top=3)
        assert [hit.track.file for hit in hits] == ["endless", "quiet", "quieter"]
        assert (hits[0].start_s, hits[0].end_s) == (0.0, 10.0)


def test_a_few_long_tracks_are_found_without_a_look_at_every_row(tmp_path, monkeypatch):
    # All rows of a track are about as good, so the nearest rows are those of one track alone.
    with new_index(tmp_path, max_part_rows=20_000) as index:
        for i in range(20):
            rows = np.tile(toward(1, i / 100), (4000, 1)) + np.random.default_rng(i).normal(0, 1e-3, (4000, DIM))
            rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
            index.add(track(f"t{i:02d}"), spans(4000), rows)
        asked = []
        take = MappedParts.take
        monkeypatch.setattr(MappedParts, "take", lambda parts, rows: asked.append(len(rows)) or take(parts, rows))
        hits = index.search(toward(1), top=50)
        assert described(hits) == oracle(index, toward(1), top=50, per_segment=False)
        assert len(hits) == 20 and sum(asked) < 20_000


def test_copies_tie_in_the_order_of_their_paths(tmp_path):
    names = [f"copy {i:03d}" for i in range(300)]
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    with new_index(tmp_path) as index:
        index.add_many([(track(name), spans(2), np.stack([toward(0, 1), toward(1, 1)])) for name in shuffled])
        for name in names[:200:2]:
            index.remove(name)
        live = sorted(set(names) - set(names[:200:2]))
        hits = index.search(toward(1, 1), top=7)
        assert [hit.track.file for hit in hits] == live[:7] and {hit.start_s for hit in hits} == {5.0}
        assert len({hit.score for hit in hits}) == 1
        hits = index.search(toward(1, 1), top=500)
        assert [hit.track.file for hit in hits] == live


def test_refuses_what_is_no_query(library):
    for query in (np.zeros(DIM + 1), np.zeros((1, DIM)), np.full(DIM, np.nan)):
        with pytest.raises(ValueError, match="query must have shape"):
            library.search(query)
    with pytest.raises(ValueError, match="top must be at least 1"):
        library.search(toward(1), top=0)
    with pytest.raises(ValueError, match="min_score"):
        library.search(toward(1), min_score=float("nan"))


def test_rows_that_are_not_there(library):
    with pytest.raises(IndexError, match="row 99999"):
        library.vectors_at([0, 99999])
    assert library.vectors_at([]).shape == (0, DIM)


def test_without_faiss_the_message_names_the_extras(library, monkeypatch):
    real_import = builtins.__import__

    def no_faiss(name: str, *args: object, **kwargs: object) -> object:
        if name == "faiss":
            raise ImportError("No module named 'faiss'")
        return real_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(builtins, "__import__", no_faiss)
    with pytest.raises(ImportError, match=r'install "earmark\[cpu\]" or "earmark\[gpu\]"'):
        library.search(toward(1))
    assert library.stats().n_tracks == 36  # all else works
