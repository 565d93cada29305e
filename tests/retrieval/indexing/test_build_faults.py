"""Index builds with bad files, dying decoders and interruptions."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from ingest_helpers import (
    FAULTY,
    RATE_HZ,
    Model,
    children_of,
    counts,
    is_running,
    library,
    paths_in,
    song,
    vectors_in,
    worker_running,
)

import retrieval
from index import VectorIndex
from retrieval.indexing.build import build
from retrieval.indexing.types import BuildProgress, IngestError, IngestInterrupted, IngestOptions

ROOT = Path(retrieval.__file__).parents[2]


# ---- bad files


def test_bad_files_are_skipped_listed_and_not_tried_again(music: Path, place: Path) -> None:
    song(music / "good.wav")
    (music / "empty.mp3").touch()
    (music / "text.mp3").write_text("no music\n" * 1_000)
    summary = build([music], index_path=place, model=Model())
    assert counts(summary) == {"added": 1, "skipped": 2}
    assert [str(problem) for problem in summary.problems] == [
        f"{music / 'empty.mp3'}: the file is empty (0 bytes)",
        f"{music / 'text.mp3'}: not audio in any known format",
    ]
    options = IngestOptions(worker_command=worker_running("raise SystemExit('no decoder is needed')"))
    again = build([music], index_path=place, model=Model(), options=options)
    assert counts(again) == {"unchanged": 1, "skipped": 2}
    assert again.problems == summary.problems
    retried = build([music], index_path=place, model=Model(), options=IngestOptions(retry_skipped=True))
    assert retried.problems == summary.problems
    song(music / "text.mp3", seed=3)
    (music / "empty.mp3").unlink()
    assert counts(build([music], index_path=place, model=Model())) == {"added": 1, "unchanged": 1}
    with VectorIndex.open(place) as index:
        assert index.skipped() == []


def test_a_track_that_turned_bad_is_dropped(music: Path, place: Path) -> None:
    path = song(music / "a.wav")
    song(music / "b.wav", seed=1)
    build([music], index_path=place, model=Model())
    path.write_text("overwritten")
    assert counts(build([music], index_path=place, model=Model())) == {"unchanged": 1, "skipped": 1}
    assert paths_in(place) == [str(music / "b.wav")]


def test_a_file_that_fails_at_its_end_leaves_nothing(music: Path, place: Path) -> None:
    sf.write(music / "nan.wav", np.full(RATE_HZ * 30, np.nan), RATE_HZ, subtype="FLOAT")
    song(music / "good.wav", duration_s=11.0)
    summary = build([music], index_path=place, model=Model(), options=IngestOptions(batch_chunks=4))
    assert counts(summary) == {"added": 1, "skipped": 1}
    assert summary.problems[0].reason == "every sample is NaN or infinite"
    assert len(vectors_in(place, music / "good.wav")) == 2


def test_strict_names_the_first_bad_files_after_the_rest_is_done(music: Path, place: Path) -> None:
    for number in range(5):
        (music / f"bad{number}.mp3").touch()
    song(music / "good.wav")
    options = IngestOptions(strict=True)
    message = r"^5 files could not be indexed as a whole: .*bad0\.mp3: the file is empty.*; and 2 more$"
    with pytest.raises(IngestError, match=message) as caught:
        build([music], index_path=place, model=Model(), options=options)
    assert caught.value.summary is not None
    assert counts(caught.value.summary) == {"added": 1, "skipped": 5}
    assert paths_in(place) == [str(music / "good.wav")]


def test_a_refusal_of_the_system_is_not_remembered(music: Path, place: Path) -> None:
    path = song(music / "a.wav")
    refusing = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import retrieval.library.scan as library\n"
        "def refuse(path, *_, **__): raise PermissionError(13, 'Permission denied', path)\n"
        "library.open = refuse\nimport retrieval.indexing.decode_worker as worker; worker.main()"
    )
    options = IngestOptions(worker_command=worker_running(refusing))
    summary = build([music], index_path=place, model=Model(), options=options)
    assert counts(summary) == {"skipped": 1, "transient": 1}
    assert summary.problems[0].reason == "Permission denied (the next build tries it again)"
    assert counts(build([music], index_path=place, model=Model())) == {"added": 1}
    assert paths_in(place) == [str(path)]


def test_a_track_stays_where_its_file_cannot_be_read_for_now(music: Path, place: Path) -> None:
    path = song(music / "killed.wav")
    build([music], index_path=place, model=Model())
    song(path, duration_s=12.0, seed=5)
    options = IngestOptions(worker_command=worker_running(FAULTY))
    assert counts(build([music], index_path=place, model=Model(), options=options)) == {"skipped": 1, "transient": 1}
    assert paths_in(place) == [str(path)]


def test_decoders_that_do_not_start_skip_nothing(music: Path, place: Path) -> None:
    library(music, 3)
    options = IngestOptions(worker_command=worker_running("raise SystemExit('no such library')"))
    with pytest.raises(IngestError, match="does not start: no such library"):
        build([music], index_path=place, model=Model(), options=options)
    assert counts(build([music], index_path=place, model=Model())) == {"added": 3}


def test_a_file_that_breaks_off_is_indexed_with_a_note(music: Path, place: Path) -> None:
    song(music / "whole.wav", duration_s=30.0)
    song(music / "half.wav", duration_s=30.0, seed=1)
    song(music / "nearly.wav", duration_s=30.0, seed=2)
    half = (music / "half.wav").read_bytes()
    (music / "half.wav").write_bytes(half[: len(half) // 2])
    nearly = (music / "nearly.wav").read_bytes()
    (music / "nearly.wav").write_bytes(nearly[: -RATE_HZ * 2 // 2])  # half a second is not worth a note
    summary = build([music], index_path=place, model=Model())
    assert (counts(summary), summary.partial) == ({"added": 3}, 1)
    note = "only 15.0 s of the 30.0 s that it declares could be decoded"
    assert [str(problem) for problem in summary.problems] == [f"{music / 'half.wav'}: {note}"]
    with VectorIndex.open(place) as index:
        assert {track.file: track.note for track in index.tracks() if track.note} == {str(music / "half.wav"): note}
        assert index.stats().n_partial == 1
    again = build([music], index_path=place, model=Model())
    assert (counts(again), again.partial, again.problems) == ({"unchanged": 3}, 1, summary.problems)
    with pytest.raises(IngestError, match=r"^1 files could not be indexed as a whole: .*half\.wav: only"):
        build([music], index_path=place, model=Model(), options=IngestOptions(strict=True))
    (music / "half.wav").rename(music / "moved.wav")
    assert build([music], index_path=place, model=Model()).partial == 1
    (music / "moved.wav").write_bytes(half)
    mended = build([music], index_path=place, model=Model())
    assert (counts(mended), mended.partial) == ({"unchanged": 2, "updated": 1}, 0)


def test_an_error_of_the_model_ends_the_build_and_keeps_what_is_done(music: Path, place: Path) -> None:
    library(music, 4)

    class Failing(Model):
        def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
            if self.n_calls == 3:
                raise RuntimeError("out of memory")
            return super().chunk_features(chunks)

    options = IngestOptions(workers=1, batch_chunks=1)
    with pytest.raises(RuntimeError, match="out of memory"):
        build([music], index_path=place, model=Failing(), options=options)
    assert len(paths_in(place)) >= 1
    assert build([music], index_path=place, model=Model()).unchanged >= 1


def test_vectors_that_are_no_numbers_skip_the_file(music: Path, place: Path) -> None:
    song(music / "good.wav")
    sf.write(music / "silent.wav", np.zeros(RATE_HZ * 2), RATE_HZ)

    class Undirected(Model):
        def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
            return np.where(chunks.any(axis=1, keepdims=True), super().chunk_features(chunks), np.nan)

    summary = build([music], index_path=place, model=Undirected())
    assert counts(summary) == {"added": 1, "skipped": 1}
    assert summary.problems[0].reason == "the model gives no finite vector for it"


# ---- interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["scanning", "embedding"])
def test_a_signal_stops_between_two_steps(music: Path, place: Path, number: int, stage: str) -> None:
    library(music, 6)
    former = signal.signal(number, signal.default_int_handler)  # not that of nohup

    def interrupt(progress: BuildProgress) -> None:
        if progress.stage == stage and (stage == "scanning" or progress.files_done == 2):
            signal.raise_signal(number)

    try:
        with pytest.raises(IngestInterrupted, match="Run the same command again to resume") as caught:
            build(
                [music],
                index_path=place,
                model=Model(),
                options=IngestOptions(workers=1, batch_chunks=1),
                on_progress=interrupt,
            )
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, former)
    assert caught.value.signal_number == number
    done = caught.value.summary.added
    assert done == (0 if stage == "scanning" else 2)
    if stage == "embedding":
        assert len(paths_in(place)) == done
    model = Model()
    assert build([music], index_path=place, model=model).added == 6 - done
    assert model.n_files == 6 - done + (stage == "scanning")


SCRIPT = """
import json, signal, sys
sys.path[:] = json.loads(sys.argv[1])
from ingest_helpers import FAULTY, RATE_HZ, Model, counts, library, paths_in, song, vectors_in
from retrieval.indexing.build import build
from retrieval.indexing.types import IngestInterrupted, IngestOptions
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    build(
        sys.argv[3:], index_path=sys.argv[2], model=Model(delay_s=0.15),
        options=IngestOptions(workers=2, batch_chunks=1),
        on_progress=lambda progress: print(progress.files_done, flush=True),
    )
except IngestInterrupted as stop:
    print(stop, flush=True)
    sys.exit(128 + stop.signal_number)
"""  # no `if __name__ == "__main__"` on purpose


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_a_process_that_is_stopped_keeps_its_commits_and_leaves_no_worker(music: Path, place: Path, how: str) -> None:
    library(music, 8)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            SCRIPT,
            '["' + '", "'.join([str(ROOT), *sys.path]) + '"]',
            str(place),
            str(music),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=music,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if int(line) >= 2:
                break
        workers = children_of(process.pid)
        assert 1 <= len(workers) <= 2
        process.send_signal(signal.Signals[how])
        rest, errors = process.stdout.read(), process.stderr.read()
    assert errors == ""
    if how == "SIGINT":
        assert process.returncode == 130
        assert "Run the same command again to resume" in rest
    else:
        assert process.returncode == -9
    deadline_s = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not any(map(is_running, workers))
    n_kept = len(paths_in(place))
    assert 2 <= n_kept < 8
    model = Model()
    assert counts(build([music], index_path=place, model=model)) == {"added": 8 - n_kept, "unchanged": n_kept}
    assert model.n_files == 8 - n_kept
    assert len(paths_in(place)) == 8
