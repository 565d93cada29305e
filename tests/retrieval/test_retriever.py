"""The retriever over a real index, with a text tower whose vectors can be read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import AXES, PitchEar, WordAxes, make_index, pitches, unit

import retrieval
from encoders.embed import AudioEncoder
from encoders.text.tower import UnknownWordsError
from index import Entry, Manifest, Sheet, Track, VectorIndex
from retrieval import Hit, QueryError, Retriever, default_index_dir
from retrieval.library.audio_hash import audio_hash
from retrieval.library.scan import content_hash
from retrieval.tagging import ZeroShotTagger

TRACKS: dict[str | bytes, list[np.ndarray]] = {
    "low.wav": [unit("low"), unit(low=9, middle=1)],
    "high.wav": [unit(high=9, low=1), unit("high")],
    "both.wav": [unit("low", "high"), unit("low"), unit("low", "high")],
    "noise.wav": [unit("noisy")],
}


@pytest.fixture
def retriever(tmp_path: Path) -> Iterator[Retriever]:
    folder = make_index(tmp_path / "an.index", TRACKS)
    with opened(folder) as with_doubles:
        yield with_doubles


def opened(folder: Path, *, audio: AudioEncoder | None = None) -> Retriever:
    text: Any = WordAxes()
    tagger = ZeroShotTagger(text=text, model_dir=folder, audio=audio or PitchEar())
    return Retriever(VectorIndex.open(folder, encoder=text.fingerprint), text=text, model_dir=folder, tagger=tagger)


def places(hits: list[Hit]) -> list[tuple[str, float]]:
    return [(hit.path, hit.start_s) for hit in hits]


def test_a_track_is_found_at_its_best_place(retriever: Retriever) -> None:
    hits = retriever.search("high")
    assert places(hits)[:2] == [("high.wav", 5.0), ("both.wav", 0.0)]
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]
    assert hits[0].score == pytest.approx(1.0, abs=1e-6)
    assert (hits[0].end_s, hits[0].duration_s, hits[0].artist) == (15.0, 15.0, "Artist")


def test_top_and_min_score_limit_the_hits(retriever: Retriever) -> None:
    assert places(retriever.search("high", top=1)) == [("high.wav", 5.0)]
    assert [hit.path for hit in retriever.search("high", min_score=0.5)] == ["high.wav", "both.wav"]


def test_every_segment_on_demand(retriever: Retriever) -> None:
    hits = retriever.search("low", per_segment=True, min_score=0.6)
    assert places(hits) == [
        ("both.wav", 5.0), ("low.wav", 0.0), ("low.wav", 5.0), ("both.wav", 0.0), ("both.wav", 10.0)
    ]  # fmt: skip


def test_what_is_excluded_is_not_among_the_hits(retriever: Retriever) -> None:
    """high.wav is high throughout; of both.wav the place without high remains."""
    hits = retriever.search("low noisy", exclude=["high"])
    assert "high.wav" not in {hit.path for hit in hits}
    assert ("both.wav", 5.0) in places(hits)
    assert {hit.path for hit in hits} == {"low.wav", "both.wav", "noise.wav"}
    assert [hit.rank for hit in hits] == [1, 2, 3]


def test_what_is_excluded_is_excluded_by_segment_too(retriever: Retriever) -> None:
    hits = retriever.search("low", exclude=["high", "noisy"], per_segment=True)
    assert sorted(places(hits)) == [("both.wav", 5.0), ("low.wav", 0.0), ("low.wav", 5.0)]


def test_a_file_is_a_query_in_an_index_with_gaps_between_its_rows(tmp_path: Path) -> None:
    """Four parts; compacting all but the last leaves row numbers that no part holds."""
    folder = tmp_path / "an.index"
    song = tmp_path / "low.wav"
    song.write_bytes(b"known by its content")
    manifest = Manifest(encoder=WordAxes.fingerprint, encoder_name="doubles", dim=len(AXES))
    vectors = np.stack([unit("low"), unit("low", "middle"), unit("high", "low")])
    spans = np.array([[0.0, 10.0], [5.0, 15.0], [10.0, 20.0]])
    with VectorIndex.create(folder, manifest, max_part_rows=6) as index:
        for i in range(8):
            track = Track(str(tmp_path / f"{i}.wav"), 1, 1, content_hash(song) if i == 7 else f"{i}", 20.0)
            index.add(track, spans, vectors)
        for i in (0, 2, 3, 5):
            index.remove(str(tmp_path / f"{i}.wav"))
        assert index.compact() == 12
        with pytest.raises(IndexError):
            index.vectors_at(range(index.stats().n_segments))  # the rows are not dense
    with opened(folder) as retriever:
        hits = retriever.search(like=song)
    assert [hit.path for hit in hits] == [str(tmp_path / f"{i}.wav") for i in (1, 4, 6)]


def test_excluding_the_query_leaves_the_other_tracks(retriever: Retriever) -> None:
    assert {hit.path for hit in retriever.search("low", exclude=["low"])} == {"high.wav", "noise.wav"}


def test_exclusion_looks_further_until_enough_is_found(tmp_path: Path) -> None:
    """Two hundred places that have both lie nearer to the query than the three that are wanted."""
    crowd: list[np.ndarray] = [unit(low=9, high=8)] * 200
    wanted: dict[str | bytes, list[np.ndarray]] = {f"{i}.wav": [unit(low=3, noisy=4)] for i in range(3)}
    folder = make_index(tmp_path / "an.index", {"crowd.wav": crowd, **wanted})
    with opened(folder) as found:
        assert {hit.path for hit in found.search("low", exclude=["high"], top=3)} == set(wanted)
        assert found.search("low", exclude=["high", "noisy"], top=3) == []


def test_a_negation_of_a_tag_excludes_it_in_python_as_on_the_command_line(retriever: Retriever) -> None:
    for query, exclude in (("low without high", ["high"]), ("low, no high or noisy", ["high", "noisy"])):
        assert retriever.search(query) == retriever.search("low", exclude=exclude)
        assert retriever.read(query).exclude == tuple(exclude)
    assert retriever.search("low not xyzzy") == retriever.search("low")  # not a tag: ignored, and said
    assert "'not xyzzy': a negation has no effect" in retriever.read("low not xyzzy").notes[0]
    assert retriever.read("low xyzzy", exclude=["noisy"]).to_dict() == {
        "text": "low xyzzy", "exclude": ["noisy"], "unknown": {"xyzzy": []}
    }  # fmt: skip
    with pytest.raises(QueryError, match="'not low' says only what to leave out"):
        retriever.search("not low")
    assert retriever.read("not low", like="a.wav").exclude == ("low",)  # the sound says what to find


def test_unknown_words_are_named_and_left_out(retriever: Retriever) -> None:
    assert retriever.unknown_words("a high xyzzy") == ["a", "xyzzy"]
    assert retriever.search("high xyzzy") == retriever.search("high")
    with pytest.raises(UnknownWordsError):
        retriever.search("xyzzy")
    assert retriever.search("high", exclude=["xyzzy", "low"]) == retriever.search("high", exclude=["low"])
    reading = retriever.read("high", exclude=["xyzzy", "low"])
    assert (reading.exclude, reading.left_out.words) == (("low",), ("xyzzy",))
    assert reading.notes == ("--not 'xyzzy' has no effect: the model knows no word of it",)
    assert retriever.read("xyzzy", like="a.wav").text == ""  # the sound is left


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_query_is_an_error(retriever: Retriever, text: str) -> None:
    with pytest.raises(QueryError, match="give words"):
        retriever.search(text)


def test_an_empty_exclusion_excludes_nothing(retriever: Retriever) -> None:
    assert retriever.search("low", exclude=["", "  "]) == retriever.search("low")


def test_top_below_one_is_an_error(retriever: Retriever) -> None:
    with pytest.raises(QueryError, match="at least 1"):
        retriever.search("low", top=0)


def write_tones(path: Path, *which: str, duration_s: float = 12.0) -> Path:
    import soundfile

    soundfile.write(path, pitches(*which, duration_s=duration_s), 32000)
    return path


def test_a_sound_alone_is_a_query(retriever: Retriever, tmp_path: Path) -> None:
    song = write_tones(tmp_path / "song.wav", "high")
    hits = retriever.search(like=song)
    assert places(hits)[:2] == places(retriever.search("high"))[:2] == [("high.wav", 5.0), ("both.wav", 0.0)]


def test_words_steer_a_sound(retriever: Retriever, tmp_path: Path) -> None:
    song = write_tones(tmp_path / "song.wav", "high")
    assert places(retriever.search("low", like=song))[0] == ("both.wav", 0.0)


class Deaf:
    """An audio tower that must not be used."""

    def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
        raise AssertionError("the sound was embedded although the index holds it")

    def segment_vectors(self, features: np.ndarray) -> np.ndarray:
        raise AssertionError("the sound was embedded although the index holds it")


def indexed_song(folder: Path, song: Path) -> Path:
    """An index of TRACKS in which `song` stands too, as it is on disk, but as if it sounded high."""
    make_index(folder, {**TRACKS, os.fsencode(song): [unit("high"), unit(high=9, middle=1)]})
    with VectorIndex.open(folder, read_only=False) as index:
        track = index.track(os.fsencode(song))
        assert track is not None
        status = song.stat()
        told = replace(
            track,
            size_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            content_hash=content_hash(os.fspath(song)),
        )
        index.update(os.fsencode(song), told)
    return folder


def test_a_file_of_the_index_needs_no_audio_tower_and_is_no_hit(tmp_path: Path) -> None:
    song = write_tones(tmp_path / "song.wav", "low")
    copied = tmp_path / "copy.wav"
    copied.write_bytes(song.read_bytes())
    linked = tmp_path / "link.wav"
    linked.symlink_to(song)
    with opened(indexed_song(tmp_path / "an.index", song), audio=Deaf()) as found:
        for path in (song, copied, linked):
            hits = found.search(like=path)
            assert hits[0].path == "high.wav"
            assert os.fspath(song) not in {hit.path for hit in hits}


def test_a_copy_with_other_tags_is_known_by_its_audio(tmp_path: Path) -> None:
    song = write_tones(tmp_path / "song.wav", "low")
    with VectorIndex.open(indexed_song(tmp_path / "an.index", song), read_only=False) as index:
        track = index.track(os.fsencode(song))
        assert track is not None
        index.update(track.path, replace(track, audio_hash=audio_hash(song)))
    copied = tmp_path / "copy.wav"
    copied.write_bytes(song.read_bytes() + b"TAG" + b"Another title".ljust(125, b"\0"))
    with opened(tmp_path / "an.index", audio=Deaf()) as found:
        hits = found.search(like=copied)
        assert hits[0].path == "high.wav"
        assert os.fspath(song) not in {hit.path for hit in hits}


def test_a_file_that_changed_is_embedded_again(tmp_path: Path) -> None:
    song = write_tones(tmp_path / "song.wav", "low")
    with opened(indexed_song(tmp_path / "an.index", song)) as found:
        write_tones(song, "middle", duration_s=14.0)
        assert found.search(like=song)[0].path == "low.wav"


@pytest.mark.parametrize("min_score", [float("nan"), float("inf"), float("-inf")])
def test_a_min_score_that_is_not_finite_is_an_error(retriever: Retriever, min_score: float) -> None:
    with pytest.raises(QueryError, match="min_score must be a finite number"):
        retriever.search("low", min_score=min_score)


def test_like_a_missing_file_says_so(retriever: Retriever, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        retriever.search(like=tmp_path / "none.wav")


def test_tag_goes_by_the_same_model(retriever: Retriever, tmp_path: Path) -> None:
    song = write_tones(tmp_path / "song.wav", "low")
    tags = retriever.tag(song)
    assert tags.tags[0].tag == "low"
    assert len(tags.tags) == len(AXES)


def test_a_hit_in_plain_values() -> None:
    hit = Hit(rank=1, score=0.123456789, path="a\udcff.wav", start_s=5.0, end_s=14.99999, duration_s=20.0, title="T")
    assert hit.to_dict() == {
        "rank": 1,
        "score": 0.123457,
        "path": "a\udcff.wav",
        "start_s": 5.0,
        "end_s": 15.0,
        "title": "T",
        "artist": None,
        "album": None,
    }
    assert list(hit.to_dict()) == ["rank", "score", "path", "start_s", "end_s", "title", "artist", "album"]


def test_public_names_are_sorted_and_there() -> None:
    assert retrieval.__all__ == sorted(retrieval.__all__)
    assert [name for name in retrieval.__all__ if not hasattr(retrieval, name)] == []
    assert set(retrieval.__all__) <= set(dir(retrieval))
    with pytest.raises(AttributeError, match="no attribute 'Retrievr'"):
        getattr(retrieval, "Retrievr")  # noqa: B009


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("RETRIEVE_INDEX", raising=False)
    return tmp_path


def test_the_default_index_follows_the_platforms_convention(home: Path) -> None:
    share = {"darwin": "Library/Application Support"}.get(sys.platform, ".local/share")
    assert default_index_dir() == home / share / "earmark" / "index"


def test_the_environment_names_the_default_index(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVE_INDEX", "/music/index")
    assert default_index_dir() == Path("/music/index")
    monkeypatch.setenv("RETRIEVE_INDEX", "~/index")
    assert default_index_dir() == home / "index"


def test_an_empty_variable_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVE_INDEX", "")
    assert default_index_dir().is_relative_to(home)


def test_the_default_index_is_not_created(home: Path) -> None:
    default_index_dir()
    assert list(home.iterdir()) == []


def test_hits_in_an_album_are_tracks_of_its_cue_sheet(tmp_path: Path) -> None:
    vectors = [unit("low"), unit(low=9, middle=1), unit(low=9, high=2), unit("high"), unit("high")]
    folder = make_index(tmp_path / "an.index", {"album.flac": vectors})
    with VectorIndex.open(folder, read_only=False) as index:
        entries = [Entry(1, 0.0, 14.0, "One"), Entry(2, 14.0, 30.0, None, "Guest", "Album")]
        index.cue_sheets.set_sheet(Sheet(b"album.cue", 1, 1), {b"album.flac": entries})
    with opened(folder) as found:
        for exclude in ([], ["noisy"]):
            first, second = found.search("low", exclude=exclude)
            assert (first.title, first.artist, first.duration_s, first.path) == ("One", "Artist", 14.0, "album.flac")
            assert (second.title, second.artist, second.album, second.duration_s) == (None, "Guest", "Album", 16.0)
            assert second.to_dict()["entry"] == {"number": 2, "start_s": 14.0, "end_s": 30.0}
            assert 14.0 <= (second.start_s + second.end_s) / 2 <= 30.0
        assert "entry" not in replace(first, entry=None).to_dict()
