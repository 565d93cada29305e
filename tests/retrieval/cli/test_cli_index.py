"""`retrieve index`, end to end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
from cli_helpers import AWKWARD_NAMES, RATE_HZ, Call, environment, one_line, run_python, tone

from index import VectorIndex

N_TRACKS = len(AWKWARD_NAMES)


@pytest.fixture
def small_library(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    soundfile.write(folder / "one.wav", tone(pitch_hz=440.0, duration_s=7.0), RATE_HZ)
    soundfile.write(folder / "two.wav", tone(pitch_hz=220.0, duration_s=3.0), RATE_HZ)
    (folder / "three.mp3").write_text("no sound")
    return folder


def build(call: Call, *arguments: str | Path) -> tuple[int, dict[str, object], str]:
    status, out, err = call("index", "build", *arguments, "--workers", "1", "--json")
    return status, json.loads(out) if out else {}, err


def test_build_counts_what_it_did_and_does_it_once(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    status, summary, err = build(call, small_library, "--index", place)
    assert status == 0
    assert (summary["added"], summary["skipped"], summary["segments"]) == (2, 1, 2)
    assert summary["index"] == str(place)
    problems: Any = summary["problems"]
    assert [problem["path"] for problem in problems] == [str(small_library / "three.mp3")]
    assert all(line.startswith(("scanning", "embedding", "finishing")) for line in err.splitlines())
    status, summary, _ = build(call, small_library, "--index", place)
    assert (status, summary["added"], summary["unchanged"], summary["skipped"]) == (0, 0, 2, 1)
    (small_library / "one.wav").unlink()
    status, summary, _ = build(call, small_library, "--index", place)
    assert (summary["removed"], summary["unchanged"]) == (1, 1)


def test_build_says_what_it_passes_over(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    for name in ("a.jpg", "b.jpg", "notes.txt", ".hidden.wav"):
        (small_library / name).write_text("x")
    (small_library / "two.wav").rename(small_library / "two.unknown")
    (small_library / "@eaDir").mkdir()
    soundfile.write(small_library / "@eaDir" / "four.wav", tone(pitch_hz=440.0, duration_s=2.0), RATE_HZ)
    arguments = ("index", "build", small_library, "--index", place, "--workers", "1")
    assert call(*arguments)[1].splitlines()[1:3] == [
        "5 passed over: 2 .jpg, 1 .txt, 1 .unknown, 1 with a hidden name",
        f"left out, --include-hidden takes them: {small_library}/@eaDir (system folder, 1 sound file)",
    ]
    _, summary, _ = build(call, small_library, "--index", place, "--sniff", "--include-hidden")
    assert (summary["added"], summary["unchanged"], summary["skipped"]) == (2, 1, 2)
    assert summary["passed_over"] == {
        "files": 3,
        "extensions": {".jpg": 2, ".txt": 1},
        "hidden": 0,
        "second_names": 0,
        "special": 0,
        "folders": [],
    }


NETWORK = ("torch", "transformers", "gensim", "librosa", "sklearn", "scipy", "av", "mutagen")
REPORT = f"""
import sys
from retrieval.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print([name for name in {NETWORK!r} if name in sys.modules], file=sys.stderr)
"""


def test_a_build_with_nothing_to_embed_loads_no_model(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    build(call, small_library, "--index", place)
    (small_library / "sub").mkdir()
    (small_library / "one.wav").rename(small_library / "sub" / "moved.wav")
    arguments = ("index", "build", str(small_library), "--index", str(place), "--json")
    for counted in ({"moved": 1, "unchanged": 1}, {"moved": 0, "unchanged": 2}):
        done = run_python("-c", REPORT, *arguments)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]")
        assert counted.items() <= json.loads(done.stdout).items()


def test_strict_is_an_error_that_keeps_what_could_be_read(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    status, _, err = call("index", "build", small_library, "--index", place, "--strict", "--workers", "1")
    assert status == 2
    assert err.splitlines()[-1].startswith("error: ")
    assert "three.mp3" in err
    assert "Traceback" not in err
    assert json.loads(call("index", "info", "--index", place, "--json")[1])["tracks"] == 2


def test_skipped_files_are_tried_again_on_demand(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    build(call, small_library, "--index", place)
    status, summary, _ = build(call, small_library, "--index", place, "--retry-skipped")
    assert (status, summary["skipped"]) == (0, 1)
    soundfile.write(small_library / "three.mp3", tone(pitch_hz=330.0, duration_s=3.0), RATE_HZ, format="MP3")
    status, summary, _ = build(call, small_library, "--index", place)
    assert (summary["added"], summary["skipped"]) == (1, 0)


def test_info_for_people_and_programs(call: Call, music_index: Path) -> None:
    status, out, err = call("index", "info", "--index", music_index, "--json")
    info = json.loads(out)
    assert (status, err) == (0, "")
    assert (info["tracks"], info["segments"], info["skipped"]) == (N_TRACKS, 2 * N_TRACKS, 2)
    assert info["audio_s"] == pytest.approx(12.0 * N_TRACKS, abs=0.5)
    assert info["index"] == str(music_index)
    assert (info["segment_s"], info["hop_s"]) == (10.0, 5.0)
    status, out, _ = call("index", "info", "--index", music_index)
    lines = [line.split() for line in out.splitlines()]
    assert ["tracks", str(N_TRACKS)] in lines
    assert ["segment", "10", "s,", "one", "every", "5", "s"] in lines


def test_skipped_files_are_listed_with_their_reasons(call: Call, music_index: Path, library: Path) -> None:
    status, out, _ = call("index", "info", "--skipped", "--index", music_index)
    lines = out.splitlines()
    assert status == 0
    assert len(lines) == 2
    assert lines[0].startswith(f"{library}/a text.mp3: ")
    assert lines[1].startswith(f"{library}/empty.wav: ")
    _, out, _ = call("index", "info", "--skipped", "--index", music_index, "--json")
    listed = [json.loads(line) for line in out.splitlines()]
    assert [file["path"] for file in listed] == [str(library / "a text.mp3"), str(library / "empty.wav")]
    assert all(file["reason"] for file in listed)


def test_partial_tracks_are_counted_and_listed(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    whole = (small_library / "one.wav").read_bytes()
    (small_library / "one.wav").write_bytes(whole[: len(whole) // 2])
    _, summary, _ = build(call, small_library, "--index", place)
    assert (summary["added"], summary["partial"], summary["transient"]) == (2, 1, 0)
    assert json.loads(call("index", "info", "--index", place, "--json")[1])["partial"] == 1
    line = f"{small_library / 'one.wav'}: only 3.5 s of the 7.0 s that it declares could be decoded\n"
    assert call("index", "info", "--partial", "--index", place)[1] == line
    _, out, _ = call("index", "info", "--partial", "--index", place, "--json")
    assert json.loads(out)["path"] == str(small_library / "one.wav")
    out = call("index", "build", small_library, "--index", place)[1]
    assert out.startswith("2 unchanged, 1 skipped, 1 of them in part only (")


def test_a_header_that_declares_too_little_costs_nothing_and_is_listed(
    call: Call, small_library: Path, tmp_path: Path
) -> None:
    place = tmp_path / "an.index"
    liar = small_library / "one.wav"
    streamed = liar.read_bytes()
    at = streamed.find(b"data") + 4
    liar.write_bytes(streamed[:at] + (len(streamed) // 7).to_bytes(4, "little") + streamed[at + 4 :])
    _, summary, _ = build(call, small_library, "--index", place)
    assert (summary["added"], summary["partial"], summary["audio_s"]) == (2, 0, 10.0)
    assert json.loads(call("index", "info", "--index", place, "--json")[1])["misdeclared"] == 1
    line = f"{liar}: 7.0 s long, but declares 1.0 s\n"
    assert call("index", "info", "--misdeclared", "--index", place)[1] == line
    assert call("index", "info", "--partial", "--index", place)[1] == ""
    assert build(call, small_library, "--index", place)[1]["unchanged"] == 2


def test_verify_tells_a_whole_index_from_a_damaged_one(call: Call, music_index: Path, tmp_path: Path) -> None:
    assert call("index", "verify", "--index", music_index)[0] == 0
    broken = Path(shutil.copytree(music_index, tmp_path / "copy.index"))
    (part,) = broken.glob("vectors-*.f32")
    rows = bytearray(part.read_bytes())
    rows[:4] = b"\xff\xff\xff\xff"  # a number that is none
    part.write_bytes(rows)
    status, out, err = call("index", "verify", "--index", broken)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")


def test_compact_gives_back_what_was_removed(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    build(call, small_library, "--index", place)
    soundfile.write(small_library / "one.wav", tone(pitch_hz=550.0, duration_s=6.0), RATE_HZ)
    build(call, small_library, "--index", place)
    status, out, _ = call("index", "compact", "--index", place)
    assert (status, out) == (0, "1 row dropped\n")
    assert call("index", "compact", "--index", place)[1] == "0 rows dropped\n"
    assert call("index", "verify", "--index", place)[0] == 0


def test_remove_takes_files_and_folders_out_of_the_index(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    build(call, small_library, "--index", place)
    status, out, _ = call("index", "remove", small_library / "one.wav", "--index", place)
    assert (status, out) == (0, "1 file removed from the index\n")
    status, out, err = call("index", "remove", small_library, tmp_path / "songs2", "--index", place)
    assert (status, out) == (1, "2 files removed from the index\n")
    assert err == f"error: {tmp_path / 'songs2'}: the index holds no file there\n"
    info = json.loads(call("index", "info", "--index", place, "--json")[1])
    assert (info["tracks"], info["skipped"]) == (0, 0)
    assert (small_library / "one.wav").exists()


def test_prune_forgets_a_folder_that_is_gone(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    build(call, small_library, "--index", place)
    shutil.rmtree(small_library)
    assert call("index", "build", small_library, "--index", place)[0] == 2
    status, summary, _ = build(call, small_library, "--index", place, "--prune")
    assert (status, summary["removed"], summary["kept"]) == (0, 2, 0)


@pytest.mark.parametrize("command", ["info", "verify", "compact"])
def test_no_index_is_one_line(call: Call, tmp_path: Path, command: str) -> None:
    status, out, err = call("index", command, "--index", tmp_path / "none")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: no index at")


def test_a_missing_folder_is_one_line_and_makes_no_index(call: Call, tmp_path: Path) -> None:
    status, _, err = call("index", "build", tmp_path / "none", "--index", tmp_path / "an.index")
    assert status == 2
    assert one_line(err, start="error: ")
    assert "none" in err
    assert not (tmp_path / "an.index").exists()


def test_a_device_that_is_not_there_is_one_line(call: Call, small_library: Path, tmp_path: Path) -> None:
    place = tmp_path / "an.index"
    status, _, err = call("index", "build", small_library, "--index", place, "--device", "nonsense")
    assert status == 2
    assert one_line(err.splitlines()[-1], start="error: the device 'nonsense'")
    assert "Traceback" not in err
    assert not place.exists()


def test_an_index_of_another_model_is_not_built_upon(
    call: Call, music_index: Path, small_library: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(music_index, tmp_path / "copy.index"))
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "encoder": "0" * 32}))
    before = {path.name: path.read_bytes() for path in other.iterdir()}
    status, _, err = build(call, small_library, "--index", other)
    assert status == 2
    assert one_line(err, start="error: ")
    assert {path.name: path.read_bytes() for path in other.iterdir()} == before


def test_an_unknown_command_is_one_line_with_a_suggestion(call: Call) -> None:
    status, _, err = call("index", "biuld")
    assert status == 2
    assert one_line(err, start="error: ")
    assert "build" in err


def test_the_group_alone_shows_its_help(call: Call) -> None:
    status, out, err = call("index")
    assert (status, err) == (0, "")
    assert all(command in out for command in ("build", "info", "remove", "verify", "compact"))


@pytest.mark.timeout(300)  # three times what it takes on a machine that is busy otherwise
def test_ctrl_c_keeps_what_is_done_and_the_same_command_resumes(call: Call, tmp_path: Path) -> None:
    folder, place = tmp_path / "songs", tmp_path / "an.index"
    folder.mkdir()
    song = tone(pitch_hz=330.0, duration_s=60.0)
    for number in range(24):
        soundfile.write(folder / f"{number}.wav", song[: len(song) - number * 100], RATE_HZ)
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "retrieval",
            "index",
            "build",
            str(folder),
            "--index",
            str(place),
            "--workers",
            "1",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        # Where the tests run in the background of a shell, they ignore Ctrl-C, and so would the build.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stderr is not None
            while not process.stderr.readline().startswith("embedding"):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            err = process.stderr.read()
            process.wait()
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "same command" in err.splitlines()[-1]
    with VectorIndex.open(place) as index:
        done = {track.file for track in index.tracks()}
    to_go = [path for path in folder.iterdir() if str(path) not in done]
    assert to_go
    for path in to_go[1:]:  # one is enough to see that the build resumes
        path.unlink()
    status, summary, _ = build(call, folder, "--index", place)
    assert (status, summary["added"], summary["unchanged"]) == (0, 1, len(done))
