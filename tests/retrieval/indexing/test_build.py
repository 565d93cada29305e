"""Index builds on real files with real decoding processes; only the network is a stand-in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from ingest_helpers import FAULTY, RATE_HZ, Model, counts, library, paths_in, song, worker_running

import retrieval
from encoders.audio import load_audio, stream_chunks
from index import IndexBusyError, IndexMismatchError, VectorIndex
from retrieval.indexing.build import build
from retrieval.indexing.types import BuildProgress, IngestOptions

ROOT = Path(retrieval.__file__).parents[2]


# ---- what is indexed


def test_vectors_are_those_of_the_files_own_chunks(music: Path, place: Path) -> None:
    library(music, 5)
    oracle = Model()
    for options in (IngestOptions(workers=1, batch_chunks=1), IngestOptions(workers=3, batch_chunks=7)):
        shutil.rmtree(place, ignore_errors=True)
        summary = build([music], index_path=place, model=Model(), options=options)
        assert counts(summary) == {"added": 5}
        with VectorIndex.open(place) as index:
            for track in index.tracks():
                chunks = list(stream_chunks(load_audio(track.file), sample_rate_hz=32_000))
                expected = oracle.segment_vectors(oracle.chunk_features(np.stack([chunk.samples for chunk in chunks])))
                np.testing.assert_allclose(index.vectors(track.path), expected, atol=1e-6)
                spans = [(segment.start_s, segment.end_s) for segment in index.segments(track.path)]
                assert len(spans) == max(1, len(chunks) - 1)
                assert spans[0][0] == 0.0
                assert track.duration_s == pytest.approx(sf.info(track.file).duration, abs=1e-4)
                assert spans[-1][1] == pytest.approx(track.duration_s, abs=0.5)


def test_the_summary_counts_audio_and_segments(music: Path, place: Path) -> None:
    song(music / "a.wav", duration_s=20.0)
    song(music / "b.wav", duration_s=7.0, seed=1)
    summary = build([music], index_path=place, model=Model())
    assert summary.audio_s == pytest.approx(27.0, abs=0.01)
    assert summary.n_segments == 3 + 1
    assert summary.wall_s > 0
    assert summary.n_files == 2


def test_tags_are_kept(music: Path, place: Path) -> None:
    path = music / "a.wav"
    with sf.SoundFile(path, "w", RATE_HZ, 1) as sound:
        sound.title, sound.date = "A title", "1999"
        sound.write(np.random.default_rng(0).uniform(-0.5, 0.5, RATE_HZ))
    build([music], index_path=place, model=Model())
    with VectorIndex.open(place) as index:
        track = index.track(path)
    assert track is not None
    assert (track.title, track.year, track.artist) == ("A title", "1999", None)


def test_batches_are_gathered_over_files(music: Path, place: Path) -> None:
    for number in range(12):
        song(music / f"{number}.wav", duration_s=1.0, seed=number)
    model = Model(delay_s=0.3)  # slower than decoding, so the queue fills
    build([music], index_path=place, model=model, options=IngestOptions(workers=1, batch_chunks=4))
    assert model.n_chunks == 12 + 1  # and the one that asks for the width
    assert model.n_calls < 12


def test_an_empty_folder(music: Path, place: Path) -> None:
    assert counts(build([music], index_path=place, model=Model())) == {}
    assert paths_in(place) == []


def test_odd_names(music: Path, place: Path) -> None:
    raw_name = b"two\nlines.wav" if sys.platform == "darwin" else b"caf\xe9\n.wav"  # macOS takes UTF-8 alone
    raw_path = os.path.join(os.fsencode(music), raw_name)
    shutil.copy(song(music / "a.wav"), os.fsdecode(raw_path))
    song(music / "a.wav", seed=1)
    assert counts(build([music], index_path=place, model=Model())) == {"added": 2}
    with VectorIndex.open(place) as index:
        assert index.track(raw_path) is not None


# ---- wrong ways to call it


def test_a_missing_root_makes_no_index(tmp_path: Path, place: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        build([tmp_path / "nowhere"], index_path=place, model=Model())
    assert not place.exists()


def test_another_encoder_is_refused(music: Path, place: Path) -> None:
    build([song(music / "a.wav")], index_path=place, model=Model())
    other = Model()
    other.fingerprint = "0dd" * 8
    with pytest.raises(IndexMismatchError):
        build([music], index_path=place, model=other)
    other.fingerprint = None
    with pytest.raises(ValueError, match="no fingerprint"):
        build([music], index_path=place, model=other)


def test_two_builds_at_once_are_refused(music: Path, place: Path) -> None:
    song(music / "a.wav")
    build([music], index_path=place, model=Model())
    with VectorIndex.open(place, read_only=False), pytest.raises(IndexBusyError):
        build([music], index_path=place, model=Model())


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"batch_chunks": 0}, {"stall_s": 0.0}, {"stall_s": float("nan")}])
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IngestOptions(**wrong)  # type: ignore[arg-type]


def test_workers_by_default() -> None:
    assert 1 <= IngestOptions().n_workers <= 16
    assert IngestOptions(workers=3).n_workers == 3


# ---- progress


def test_progress_is_reported_for_each_file_and_within_long_ones(music: Path, place: Path) -> None:
    library(music, 3)
    song(music / "long.wav", duration_s=200.0)
    (music / "bad.mp3").touch()
    reported: list[BuildProgress] = []
    summary = build(
        [music],
        index_path=place,
        model=Model(delay_s=0.11),
        options=IngestOptions(workers=1, batch_chunks=4),
        on_progress=reported.append,
    )
    assert reported[0].stage == "scanning"
    assert reported[-1].stage == "finishing"
    assert (reported[-1].files_done, reported[-1].files_total, reported[-1].skipped) == (5, 5, 1)
    assert reported[-1].bytes_done == reported[-1].bytes_total == sum(path.stat().st_size for path in music.iterdir())
    assert reported[-1].audio_s == pytest.approx(summary.audio_s)
    assert {progress.files_done for progress in reported if progress.stage == "embedding"} == {0, 1, 2, 3, 4, 5}
    done = [progress.bytes_done for progress in reported]
    assert done == sorted(done)
    assert len({progress.bytes_done for progress in reported if progress.current.endswith("long.wav")}) > 5
    assert any(progress.remaining_s is not None for progress in reported)
    assert reported[-1].rate_x > 0


def test_progress_is_reported_while_decoders_are_waited_for(music: Path, place: Path) -> None:
    song(music / "hang.wav", duration_s=12.0)
    times: list[float] = []
    options = IngestOptions(stall_s=0.6, worker_command=worker_running(FAULTY))
    build(
        [music],
        index_path=place,
        model=Model(),
        options=options,
        on_progress=lambda _: times.append(time.monotonic()),
    )
    assert np.median(np.diff(times)) < 0.5


# ---- memory


def test_memory_stays_flat_before_a_slow_model(music: Path, place: Path) -> None:
    with sf.SoundFile(music / "long.flac", "w", 8_000, 1) as sound:
        for _ in range(10):
            sound.write(np.zeros(60 * 8_000, np.float32))
    model = Model(delay_s=0.02)
    tracemalloc.start()
    try:
        build([music], index_path=place, model=model, options=IngestOptions(batch_chunks=4))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert model.n_chunks == 120 + 1  # 77 MB of samples
    assert peak < 20e6


def test_workers_import_neither_torch_nor_the_index_store() -> None:
    heavy = "{'torch', 'transformers', 'librosa', 'gensim', 'faiss', 'sqlite3', 'rich', 'typer'}"
    code = f"import sys, retrieval.indexing.decode_worker; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
