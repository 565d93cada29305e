"""`retrieve WORDS`, end to end: the real model, a real index, real files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from cli_helpers import AWKWARD_NAMES, Call, Run, environment, one_line, run_python

from encoders.checkpoint import DEFAULT_MODEL_DIR
from retrieval.cli.app import main

KEYS = ["rank", "score", "path", "start_s", "end_s", "title", "artist", "album"]


def hits(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def copied(music_index: Path, folder: Path) -> Path:
    return Path(shutil.copytree(music_index, folder / "copy.index"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_query_finds_every_track_once(call: Call, music_index: Path, library: Path) -> None:
    status, out, err = call("violin", "--index", music_index, "--json")
    found = hits(out)
    assert (status, err) == (0, "")
    assert {os.fsencode(str(hit["path"])) for hit in found} == {
        os.path.join(os.fsencode(library), name) for name in AWKWARD_NAMES
    }
    assert [list(hit) for hit in found] == [KEYS] * len(AWKWARD_NAMES)
    assert [hit["rank"] for hit in found] == list(range(1, len(AWKWARD_NAMES) + 1))
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)  # type: ignore[type-var]
    assert all(os.path.exists(str(hit["path"])) for hit in found)
    (plain,) = [hit for hit in found if str(hit["path"]).endswith("plain.flac")]
    assert (plain["artist"], plain["album"]) == ("[red]Someone[/red]", "Album")


def test_search_may_be_left_out_and_options_may_come_first(call: Call, music_index: Path) -> None:
    in_full = call("search", "violin", "--index", music_index, "--top", "3", "--json")
    assert in_full[0] == 0
    assert len(hits(in_full[1])) == 3
    assert call("violin", "--index", music_index, "--top", "3", "--json") == in_full
    assert call("--top", "3", "--json", "--index", music_index, "violin") == in_full


def test_words_without_quotes_are_one_query(call: Call, music_index: Path) -> None:
    quoted = call("acoustic guitar", "--index", music_index, "--json")
    assert call("acoustic", "--index", music_index, "guitar", "--json") == quoted


def test_a_commands_name_can_be_searched(call: Call, music_index: Path) -> None:
    status, out, _ = call("search", "index", "violin", "--index", music_index, "--json")
    assert status == 0
    assert len(hits(out)) == len(AWKWARD_NAMES)
    assert "build" in call("index")[1]  # without `search` it is the command


def test_nothing_prints_help_that_explains_both_forms(call: Call) -> None:
    status, out, err = call()
    assert (status, err) == (0, "")
    assert call("--help") == (0, out, "")
    assert 'retrieve "acoustic guitar"' in out
    assert "retrieve search" in out
    assert all(command in out for command in ("index", "tag", "--version"))


def test_help_of_the_query(call: Call) -> None:
    status, out, _ = call("search", "--help")
    assert status == 0
    assert all(option in out for option in ("--not", "--like", "--min-score", "--per-segment", "--m3u", "--json"))
    assert call("--top", "5", "--help") == (0, out, "")


def test_version(call: Call) -> None:
    status, out, _ = call("--version")
    assert status == 0
    assert out.startswith("earmark ")


def test_the_table_has_one_line_a_hit(call: Call, music_index: Path) -> None:
    status, out, _ = call("violin", "--index", music_index)
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split()[:2] == ["#", "score"]
    assert len(lines) == 1 + len(AWKWARD_NAMES)
    assert "\x1b" not in out
    assert r"line\nbreak.wav" in out
    assert r"not utf-8 \xff\xfe.wav" in out
    assert "[bold]markup[reset]" in out
    assert "0:00-0:10" in out


def test_every_place_on_demand(call: Call, music_index: Path) -> None:
    _, out, _ = call("violin", "--index", music_index, "--per-segment", "--top", "100", "--json")
    found = hits(out)
    assert len(found) == 2 * len(AWKWARD_NAMES)  # 12 s: segments at 0-10 and 5-12
    assert {(hit["start_s"], hit["end_s"]) for hit in found} == {(0.0, 10.0), (5.0, 12.0)}


def test_scores_have_a_floor_on_demand(call: Call, music_index: Path) -> None:
    _, out, _ = call("violin", "--index", music_index, "--json")
    third = hits(out)[2]["score"]
    _, out, _ = call("violin", "--index", music_index, "--json", "--min-score", str(float(str(third)) - 1e-5))
    assert len(hits(out)) == 3
    status, out, err = call("violin", "--index", music_index, "--min-score", "1")
    assert (status, out) == (0, "")
    assert one_line(err, start="warning: no hits")


def test_a_playlist_names_files_that_are_there(call: Call, music_index: Path, tmp_path: Path) -> None:
    playlist = tmp_path / "hits.m3u"
    status, out, _ = call("violin", "--index", music_index, "--m3u", playlist, "--json")
    lines = playlist.read_bytes().split(b"\n")
    assert (status, lines[0]) == (0, b"#EXTM3U")
    named = [line for line in lines if line and not line.startswith(b"#")]
    paths = [unquote_to_bytes(line.removeprefix(b"file://")) if line.startswith(b"file://") else line for line in named]
    assert paths == [os.fsencode(str(hit["path"])) for hit in hits(out)]
    assert all(os.path.exists(path) for path in paths)
    assert b"#EXTINF:12,[red]Someone[/red] - A title of two lines" in playlist.read_bytes()


def test_a_playlist_that_cannot_be_written(call: Call, music_index: Path, tmp_path: Path) -> None:
    status, _, err = call("violin", "--index", music_index, "--m3u", tmp_path / "none" / "hits.m3u")
    assert status == 2
    assert one_line(err, start="error: ")
    assert "hits.m3u" in err


def test_an_unknown_word_is_named_and_the_rest_searched(call: Call, music_index: Path) -> None:
    status, out, err = call("violin", "xqzzyv", "--index", music_index, "--json")
    assert status == 0
    assert one_line(err, start="warning: the model does not know 'xqzzyv': left out of the search")
    query = {"text": "violin xqzzyv", "exclude": [], "unknown": {"xqzzyv": []}}
    plain = hits(call("violin", "--index", music_index, "--json")[1])
    assert hits(out) == [{**hit, "query": query} for hit in plain]


def test_near_spellings_are_given_where_some_words_are_known(call: Call, music_index: Path) -> None:
    status, out, err = call("accoustic violin", "--index", music_index, "--literal")
    assert (status, out) == (0, call("violin", "--index", music_index)[1])
    assert one_line(err, start="warning: the model does not know 'accoustic' (did you mean acoustic, acoustics or ")
    out = call("accoustic violin", "--index", music_index, "--json", "--literal")[1]
    near = hits(out)[0]["query"]["unknown"]  # type: ignore[index]
    assert near["accoustic"][0] == "acoustic"


def test_a_misspelled_word_is_searched_as_the_word_that_is_meant_and_said(call: Call, music_index: Path) -> None:
    status, out, err = call("violinn", "--not", "pinao", "--index", music_index, "--json")
    note = "'violinn' is read as 'violin'; --literal takes it as it is written"
    assert status == 0
    assert err.splitlines()[0] == f"note: {note}"
    plain = hits(call("violin", "--not", "piano", "--index", music_index, "--json")[1])
    query = {
        "text": "violin",
        "exclude": ["piano"],
        "notes": [note, note.replace("violinn", "pinao").replace("violin", "piano")],
        "read_as": {"violinn": "violin", "pinao": "piano"},
    }
    assert hits(out) == [{**hit, "query": query} for hit in plain]


def test_other_scripts_are_named_with_the_reason(call: Call, music_index: Path) -> None:
    status, out, err = call("violin \u97f3\u697d \U0001f3bb", "--index", music_index)
    assert (status, out) == (0, call("violin", "--index", music_index)[1])
    assert one_line(err, start="warning: the model reads English words, not '\u97f3\u697d' (Chinese characters), ")
    status, out, err = call("\u97f3\u697d", "--index", music_index)
    assert (status, out) == (2, "")
    assert one_line(err, start="error: the model reads English words, not '\u97f3\u697d' (Chinese characters): say in")


def test_a_negation_is_read_as_not_and_said(call: Call, music_index: Path) -> None:
    status, out, err = call("violin without piano", "--index", music_index)
    assert (status, out) == (0, call("violin", "--not", "piano", "--index", music_index)[1])
    assert one_line(err, start="note: 'without piano' is read as --not 'piano'")
    status, out, err = call("not sad", "--index", music_index)
    assert (status, out) == (2, "")
    assert one_line(err, start="error: 'not sad' says only what to leave out: add what to find, as in: retrieve music")
    assert call("no doubt", "--index", music_index)[0] == 0
    assert call("no vocals", "--index", music_index)[2] == ""


def test_a_playlist_on_stdout_stands_alone(
    music_index: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    written = tmp_path / "hits.m3u"
    with pytest.raises(SystemExit) as end:
        main(["violin", "--index", str(music_index), "--m3u", str(written), "--per-segment"])
    capfdbinary.readouterr()
    assert end.value.code == 0
    with pytest.raises(SystemExit) as end:
        main(["violin", "--index", str(music_index), "--m3u", "-", "--per-segment"])
    out, err = capfdbinary.readouterr()
    assert (end.value.code, out, err) == (0, written.read_bytes(), b"")
    assert b"\xff\xfe" in out  # names are printed as they are on disk


@pytest.mark.parametrize(
    ("place", "advice"),
    [("folder", "is a folder: give the file to write"), ("none/hits.m3u", "there is no folder"), ("-", "both print")],
)
def test_a_playlist_that_has_no_place_is_refused_before_the_search(
    call: Call, tmp_path: Path, place: str, advice: str
) -> None:
    (tmp_path / "folder").mkdir()
    where = place if place == "-" else str(tmp_path / place)
    status, out, err = call("violin", "--index", "/none", "--m3u", where, "--json")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: Invalid value for")
    assert "--m3u" in err and advice in err


@pytest.mark.parametrize("words", [(" ",), ("\t\n",), ("", ""), ("\0",), ("!?",), ("\u200b",)])
def test_a_query_without_a_word_is_refused(call: Call, music_index: Path, words: tuple[str, ...]) -> None:
    status, out, err = call(*words, "--index", music_index)
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert "to search for" in err


def test_more_hits_than_there_are_segments_may_be_asked_for(call: Call, music_index: Path) -> None:
    for more in ((), ("--not", "piano"), ("--per-segment",)):
        status, out, _ = call("violin", *more, "--index", music_index, "--json", "--top", "1000000000")
        assert status == 0
        assert len(hits(out)) >= (1 if "--not" in more else len(AWKWARD_NAMES))
    status, _, err = call("violin", "--index", music_index, "--top", "1e9")
    assert status == 2
    assert one_line(err, start="error: Invalid value for '--top'") and "a valid integer" in err


def test_a_long_query_is_answered_with_a_short_warning(call: Call, music_index: Path) -> None:
    status, _, err = call("violin " + "xyzzy\0abc " * 20_000, "--index", music_index)
    assert status == 0
    assert one_line(err, start="warning: the model does not know 'xyzzy'")
    status, _, err = call("x" * 200_000, "--index", music_index)
    assert status == 2
    assert one_line(err, start="error: the model knows none of these words: 'xxx") and len(err) < 200


def test_only_unknown_words_is_an_error_with_near_spellings(call: Call, music_index: Path) -> None:
    for words in (("violinn", "--literal"), ("violinnnn",)):
        status, out, err = call(*words, "--index", music_index)
        assert (status, out) == (2, "")
        assert one_line(err, start="error: the model knows none of these words: 'violinn")
        assert "did you mean violin" in err


def test_what_is_not_wanted(call: Call, music_index: Path) -> None:
    status, out, _ = call("violin", "--not", "piano", "--not", "drums", "--index", music_index, "--json")
    assert status == 0
    scores = {hit["path"]: hit["score"] for hit in hits(call("violin", "--index", music_index, "--json")[1])}
    assert all(hit["score"] != scores[hit["path"]] for hit in hits(out))
    status, out, err = call("violin", "--not", "xqzzyv", "--index", music_index)
    assert (status, out) == (0, call("violin", "--index", music_index)[1])
    assert err.splitlines() == [
        "note: --not 'xqzzyv' has no effect: the model knows no word of it",
        "warning: the model does not know 'xqzzyv': left out of the search",
    ]


def test_no_index_names_the_command_that_makes_one(call: Call, tmp_path: Path) -> None:
    status, out, err = call("violin", "--index", tmp_path / "none")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: no index at")
    assert "retrieve index build" in err
    assert list(tmp_path.iterdir()) == []


def test_the_default_index_is_where_the_environment_says(
    call: Call, music_index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RETRIEVE_INDEX", str(music_index))
    assert len(hits(call("violin", "--json")[1])) == len(AWKWARD_NAMES)
    monkeypatch.setenv("RETRIEVE_INDEX", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    status, _, err = call("violin")
    assert status == 2
    assert "earmark" in err


def test_a_truncated_index_is_refused_and_left_alone(call: Call, music_index: Path, tmp_path: Path) -> None:
    broken = copied(music_index, tmp_path)
    (part,) = broken.glob("vectors-*.f32")
    part.write_bytes(part.read_bytes()[:-100])
    before = contents(broken)
    status, out, err = call("violin", "--index", broken)
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert "damaged" in err
    assert contents(broken) == before


def test_an_index_of_another_model_is_refused(call: Call, music_index: Path, tmp_path: Path) -> None:
    other = copied(music_index, tmp_path)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "encoder": "0" * 32}))
    status, _, err = call("violin", "--index", other)
    assert status == 2
    assert one_line(err, start="error: ")
    assert "model" in err


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.txt", "checksums.json"])
def test_a_model_that_is_not_whole_is_refused(call: Call, music_index: Path, tmp_path: Path, name: str) -> None:
    model = Path(shutil.copytree(DEFAULT_MODEL_DIR, tmp_path / "model"))
    (model / name).write_bytes((model / name).read_bytes()[:-50])
    status, _, err = call("violin", "--index", music_index, "--model", model)
    assert status == 2
    assert one_line(err, start="error: ")
    (model / name).unlink()
    status, _, err = call("violin", "--index", music_index, "--model", model)
    assert status == 2
    assert one_line(err, start="error: ")


def test_a_model_that_is_not_there_is_refused(call: Call, music_index: Path, tmp_path: Path) -> None:
    status, _, err = call("violin", "--index", music_index, "--model", tmp_path / "none")
    assert status == 2
    assert one_line(err, start="error: no model directory")


@pytest.mark.parametrize(
    "arguments",
    [
        ("violin", "--top", "0"),
        ("violin", "--top", "-3"),
        ("violin", "--top", "many"),
        ("violin", "--m3u", "a\0b"),
        ("violin", "--model", "a\0b"),
        ("violin", "--no-such-option"),
        ("--top", "3"),
        ("",),
        ("violin", "--like"),
        ("violin", "--like", "/none/such.wav"),
        ("--like", "/none/such.wav"),
    ],
)
def test_a_command_line_that_cannot_be_followed(call: Call, music_index: Path, arguments: tuple[str, ...]) -> None:
    index = () if arguments[-1] == "--like" else ("--index", str(music_index))
    status, out, err = call(*arguments, *index)
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")


HEAVY = ("torch", "transformers", "gensim", "librosa", "sklearn", "scipy", "soundfile", "av", "matplotlib", "rich")
REPORT = f"""
import sys
from retrieval.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


def test_a_query_imports_nothing_heavy(music_index: Path) -> None:
    done = run_python("-c", REPORT, "violin", "--not", "piano", "--index", str(music_index))
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 1
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_sound_of_the_index_as_query_needs_no_torch(music_index: Path, library: Path) -> None:
    song = library / "plain.flac"
    done = run_python("-c", REPORT, "violin", "--like", str(song), "--index", str(music_index), "--json")
    assert done.returncode == 0
    assert len(hits(done.stdout)) == len(AWKWARD_NAMES) - 1
    assert str(song) not in {hit["path"] for hit in hits(done.stdout)}
    assert not {"torch", "transformers", "gensim", "librosa"} & set(json.loads(done.stderr.replace("'", '"')))


def test_any_sound_as_query(call: Call, music_index: Path, library: Path, tmp_path: Path) -> None:
    """A sound cut off a little earlier than that of the index is nearest to where it comes from."""
    import soundfile

    waveform, rate_hz = soundfile.read(library / "plain.flac")
    soundfile.write(tmp_path / "song.wav", waveform[: 11 * rate_hz], rate_hz)
    status, out, err = call("--like", tmp_path / "song.wav", "--index", music_index, "--json")
    assert (status, err) == (0, "")
    assert str(hits(out)[0]["path"]).endswith("plain.flac")
    assert float(str(hits(out)[0]["score"])) > 0.9


def test_a_reader_that_goes_away_is_met_in_silence(music_index: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "retrieval", "violin", "--index", str(music_index)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 0


def test_a_terminal_that_does_not_know_every_character(run: Run, music_index: Path) -> None:
    done = run("violin", "--index", music_index, env={"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\U0001f3b8" in done.stdout


def test_the_shell_can_complete(run: Run) -> None:
    done = run(env={"_RETRIEVE_COMPLETE": "complete_bash", "COMP_WORDS": "retrieve ind", "COMP_CWORD": "1"})
    assert done.stdout.split() == ["index"]
