"""Decoding processes that end, hang, are stopped or wait for a slow disk, and what becomes of their files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ingest_helpers import FAULTY, Model, children_of, counts, paths_in, song, vectors_in, worker_running

import retrieval
from index import VectorIndex
from retrieval.indexing.build import build
from retrieval.indexing.liveness import Activity, Patience, Verdict, activity_of
from retrieval.indexing.types import BuildSummary, IngestError, IngestOptions

ROOT = Path(retrieval.__file__).parents[1]
AGAIN = " (the next build tries it again)"


def faulty_build(music: Path, place: Path, *, retry_skipped: bool = False, most_hangs: int = 3) -> BuildSummary:
    options = IngestOptions(
        workers=1,
        batch_chunks=1,
        stall_s=0.6,
        retry_skipped=retry_skipped,
        most_hangs=most_hangs,
        worker_command=worker_running(FAULTY),
    )
    return build([music], index_path=place, model=Model(), options=options)


def reasons(summary: BuildSummary) -> list[str]:
    return [problem.reason for problem in summary.problems]


# ---- whose fault it is


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash", "the file is damaged (at 5 s) (decoder: SIGSEGV)"),
        ("crash header", "the file is damaged (header) (decoder: SIGSEGV)"),
        ("abort header", "the file is damaged (header) (decoder: SIGABRT)"),
        ("exit", "the file is damaged (at 5 s) (decoder: exit status 3)"),
    ],
)
def test_a_file_that_crashes_its_decoder_twice_is_damaged(music: Path, place: Path, name: str, reason: str) -> None:
    song(music / "good.wav", duration_s=12.0)
    song(music / f"{name}.wav", duration_s=12.0, seed=1)
    song(music / f"{name} once.wav", duration_s=12.0, seed=2)
    summary = faulty_build(music, place)
    assert (counts(summary), reasons(summary)) == ({"added": 2, "skipped": 1}, [reason])
    assert len(vectors_in(place, music / f"{name} once.wav")) == 2  # no chunk of the first try is left
    assert counts(build([music], index_path=place, model=Model())) == {"unchanged": 2, "skipped": 1}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("killed", "the decoding process was killed (SIGKILL), twice" + AGAIN),
        ("stopped", "the decoding process was stopped for 0.6 s, twice" + AGAIN),
    ],
)
def test_what_is_done_to_a_decoder_is_not_held_against_the_file(
    music: Path, place: Path, name: str, reason: str
) -> None:
    song(music / "good.wav", duration_s=12.0)
    song(music / f"{name}.wav", duration_s=12.0, seed=1)
    song(music / f"{name} once.wav", duration_s=12.0, seed=2)
    for number in range(3):  # however often
        summary = faulty_build(music, place)
        assert reasons(summary) == [reason]
        assert counts(summary) == {"added" if number == 0 else "unchanged": 2, "skipped": 1, "transient": 1}
    assert paths_in(place) == [str(music / "good.wav"), str(music / f"{name} once.wav")]
    assert len(vectors_in(place, music / f"{name} once.wav")) == 2
    assert counts(build([music], index_path=place, model=Model())) == {"added": 1, "unchanged": 2}


@pytest.mark.parametrize("n_kills", [1, 2, 3])
def test_a_decoder_that_is_killed_while_it_starts_is_started_again(music: Path, place: Path, n_kills: int) -> None:
    song(music / "a.wav")
    code = (
        "import json, os, sys; sys.path[:] = json.loads(sys.argv[1])\n"
        f"marks = [{str(music / 'kill')!r} + str(number) for number in range({n_kills})]\n"
        "left = [mark for mark in marks if not os.path.exists(mark)]\n"
        "if left: open(left[0], 'w').close(); os.kill(os.getpid(), 9)\n"
        "import retrieval.indexing.decode_worker as worker; worker.main()"
    )
    options = IngestOptions(workers=1, worker_command=worker_running(code))
    if n_kills < 3:
        assert counts(build([music], index_path=place, model=Model(), options=options)) == {"added": 1}
        return
    with pytest.raises(IngestError, match=r"does not start: the decoding process was killed \(SIGKILL\)$"):
        build([music], index_path=place, model=Model(), options=options)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a memory killer with scores")
def test_the_memory_killer_takes_a_decoder_before_the_build(music: Path, place: Path, tmp_path: Path) -> None:
    song(music / "a.wav")
    told = tmp_path / "score"
    tell = f"open({str(told)!r}, 'w').write(open('/proc/self/oom_score_adj').read())"
    code = FAULTY.replace("    yield next(chunks)", f"    {tell}\n    yield next(chunks)")
    build([music], index_path=place, model=Model(), options=IngestOptions(worker_command=worker_running(code)))
    assert int(told.read_text()) > int(Path("/proc/self/oom_score_adj").read_text())


def test_a_crash_and_a_kill_are_not_two_crashes(music: Path, place: Path) -> None:
    song(music / "crash once, killed.wav", duration_s=12.0)
    code = FAULTY.replace('if "once" in name and', "if False and").replace(
        'if "crash" in name:',
        'if "crash" in name and not os.path.exists(path + ".crashed"):\n        open(path + ".crashed", "w").close()',
    )
    options = IngestOptions(workers=1, worker_command=worker_running(code))
    summary = build([music], index_path=place, model=Model(), options=options)
    both = "the file is damaged (at 5 s) (decoder: SIGSEGV); then the decoding process was killed (SIGKILL)"
    assert (counts(summary), reasons(summary)) == ({"skipped": 1, "transient": 1}, [both + AGAIN])


# ---- decoders that hang


def test_a_file_on_which_its_decoder_hangs_is_tried_in_three_builds(music: Path, place: Path) -> None:
    path = song(music / "hang.wav", duration_s=12.0)
    song(music / "hang once.wav", duration_s=12.0, seed=2)
    hangs = "the decoder hangs (at 5 s): nothing came from it for 0.6 s, twice"
    for number in range(2):
        summary = faulty_build(music, place)
        assert reasons(summary) == [hangs + AGAIN]
        assert counts(summary) == {"added" if number == 0 else "unchanged": 1, "skipped": 1, "transient": 1}
        with VectorIndex.open(place) as index:
            assert [(skip.reason, skip.n_tries) for skip in index.skipped()] == [(hangs + AGAIN, number + 1)]
    final = f"{hangs}, in 3 builds (--retry-skipped tries it again)"
    summary = faulty_build(music, place)
    assert (counts(summary), reasons(summary)) == ({"unchanged": 1, "skipped": 1}, [final])
    began_s = time.monotonic()
    summary = build([music], index_path=place, model=Model())  # it would succeed now, but it is not tried
    assert (counts(summary), reasons(summary)) == ({"unchanged": 1, "skipped": 1}, [final])
    assert time.monotonic() - began_s < 1.0
    retried = build([music], index_path=place, model=Model(), options=IngestOptions(retry_skipped=True))
    assert counts(retried) == {"added": 1, "unchanged": 1}
    with VectorIndex.open(place) as index:
        assert index.skipped() == []
    song(path, duration_s=13.0, seed=3)  # another content is counted from the start
    assert counts(faulty_build(music, place)) == {"unchanged": 1, "skipped": 1, "transient": 1}
    assert paths_in(place) == [str(music / "hang once.wav"), str(path)]


def test_a_decoder_that_reads_the_same_bytes_for_ever_hangs(music: Path, place: Path) -> None:
    song(music / "loop.wav", duration_s=12.0)
    summary = faulty_build(music, place, most_hangs=1)
    assert counts(summary) == {"skipped": 1}
    assert reasons(summary)[0].startswith(
        "the decoder hangs (at 5 s): nothing came from it for 0.6 s, twice, in 1 build"
    )


def test_a_change_of_the_file_starts_the_count_of_hangs_again(music: Path, place: Path) -> None:
    path = song(music / "hang header.wav", duration_s=12.0)
    for number in range(3):
        song(path, duration_s=12.0 + number, seed=number)
        summary = faulty_build(music, place, most_hangs=2)
        assert counts(summary) == {"skipped": 1, "transient": 1}
        assert reasons(summary) == ["the decoder hangs (header): nothing came from it for 0.6 s, twice" + AGAIN]
    assert counts(faulty_build(music, place, most_hangs=2)) == {"skipped": 1}


# ---- slow disks


def test_a_decoder_behind_a_slow_disk_is_waited_for(music: Path, place: Path) -> None:
    song(music / "slow header.wav", duration_s=12.0)  # 3 s for the first chunk, where 0.6 s is the limit
    summary = faulty_build(music, place)
    assert (counts(summary), reasons(summary)) == ({"added": 1}, [])


def test_a_disk_that_delivers_nothing_is_not_the_fault_of_the_file(music: Path, place: Path) -> None:
    song(music / "a.wav", duration_s=12.0)
    code = (
        "import json, sys, time; sys.path[:] = json.loads(sys.argv[1]); import retrieval.library.scan as library\n"
        "library.open = lambda *_, **__: time.sleep(600)\n"
        "import retrieval.indexing.decode_worker as worker; worker.main()"
    )
    options = IngestOptions(workers=1, stall_s=0.5, most_hangs=1, worker_command=worker_running(code))
    summary = build([music], index_path=place, model=Model(), options=options)
    assert counts(summary) == {"skipped": 1, "transient": 1}
    assert reasons(summary) == ["the disk did not deliver the file for 0.5 s, twice" + AGAIN]
    assert counts(build([music], index_path=place, model=Model())) == {"added": 1}


# ---- the wait itself

LIMITS = {"elapsed_s": 0.5, "limit_s": 2.0, "most_bytes": 40_000}


@pytest.mark.parametrize(
    ("activity", "verdict"),
    [
        (None, Verdict.HANGS),
        (Activity(), Verdict.HANGS),
        (Activity(is_stopped=True), Verdict.STOPPED),
        (Activity(waits_for_disk=True, read_bytes=5), Verdict.DISK),
    ],
)
def test_patience_ends_after_the_limit_and_says_why(activity: Activity | None, verdict: Verdict) -> None:
    patience = Patience(lambda: activity)
    assert [patience.tick(1, **LIMITS) for _ in range(6)] == [None] * 5 + [verdict]
    assert [patience.tick(message, **LIMITS) for message in (2, 3, 4, None, None, None, None, None)] == [None] * 8


@pytest.mark.parametrize(
    ("bytes_a_look", "n_looks", "verdict"),
    [
        (6_000, 7, Verdict.HANGS),  # 36,000 bytes are allowed, 42,000 are round in circles
        (41_000, 1, Verdict.HANGS),
        (10, 1, Verdict.DISK),  # a disk that delivers next to nothing
    ],
)
def test_patience_lasts_while_the_process_reads(bytes_a_look: int, n_looks: int, verdict: Verdict) -> None:
    n_read = 0

    def look() -> Activity:
        nonlocal n_read
        n_read += bytes_a_look
        return Activity(read_bytes=n_read)

    patience = Patience(look)
    verdicts = [patience.tick(1, **LIMITS) for _ in range(60)]
    assert next(number for number, found in enumerate(verdicts) if found) in range(4 * n_looks, 6 * n_looks)
    assert next(found for found in verdicts if found) == verdict


def test_activity_tells_a_stopped_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as p:
        assert p.stdout is not None
        p.stdout.readline()
        running = activity_of(p.pid)
        p.send_signal(signal.SIGSTOP)
        deadline_s = time.monotonic() + 5
        while (stopped := activity_of(p.pid)) is not None and not stopped.is_stopped and time.monotonic() < deadline_s:
            time.sleep(0.01)
        p.kill()
    if sys.platform == "linux":
        assert running is not None and not running.is_stopped and (running.read_bytes or 0) > 0
        assert stopped is not None and stopped.is_stopped
    assert activity_of(p.pid) is None


SUSPENDED = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
from ingest_helpers import Model, counts
from retrieval.indexing import decode_pool
from retrieval.indexing.build import build
from retrieval.indexing.types import IngestOptions
put = decode_pool.DecodePool._put
def noticed(pool, event):
    if isinstance(event, (decode_pool.Restarted, decode_pool.Begun)):
        print(type(event).__name__, flush=True)
    put(pool, event)
decode_pool.DecodePool._put = noticed
options = IngestOptions(workers=1, stall_s=0.8, worker_command=json.loads(sys.argv[4]))
print(json.dumps(counts(build([sys.argv[2]], index_path=sys.argv[3], model=Model(), options=options))))
"""


def test_a_build_that_is_suspended_goes_on_where_it_was(music: Path, place: Path) -> None:
    song(music / "slow.wav", duration_s=12.0)  # decoding takes 3 s
    paths = '["' + '", "'.join([str(ROOT), *sys.path]) + '"]'
    command = json.dumps(worker_running(FAULTY))
    process = subprocess.Popen(
        [sys.executable, "-c", SUSPENDED, paths, str(music), str(place), command],
        stdout=subprocess.PIPE,
        text=True,
        cwd=music,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Begun\n"
        everyone = [process.pid, *children_of(process.pid)]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.5)
        for pid in everyone:  # the parent first: it must not judge a decoder that is still stopped
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.4)
        rest = process.stdout.read()
    assert rest == '{"added": 1}\n'
