"""`retrieve tag`, end to end: the shipped model on real files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import soundfile
from cli_helpers import RATE_HZ, Call, one_line, tone

from encoders.text.tower import TextEncoder
from retrieval.cli.app import main


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "a song.wav"
    soundfile.write(path, tone(pitch_hz=440.0, duration_s=12.3), RATE_HZ)
    return path


def test_given_labels(call: Call, song: Path) -> None:
    status, out, err = call("tag", song, "--labels", "piano, violin,, Piano,  ,drums", "--json")
    (found,) = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert list(found) == ["path", "duration_s", "tags"]
    assert found["path"] == str(song)
    assert found["duration_s"] == pytest.approx(12.3, abs=0.01)
    assert {tag["tag"] for tag in found["tags"]} == {"piano", "violin", "drums"}
    assert [list(tag) for tag in found["tags"]] == [["tag", "score"]] * 3
    scores = [tag["score"] for tag in found["tags"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 < score < 1.0 for score in scores)


def test_the_tags_of_the_model_by_default(call: Call, song: Path) -> None:
    own = TextEncoder.load().tag_names()
    status, out, _ = call("tag", song, "--json")
    assert status == 0
    assert len(json.loads(out)["tags"]) == min(10, len(own))
    _, out, _ = call("tag", song, "--json", "--top", str(len(own)))
    assert {tag["tag"] for tag in json.loads(out)["tags"]} == set(own)


def test_more_than_ten_labels_on_demand(call: Call, song: Path) -> None:
    labels = "piano,violin,guitar,drums,rock,techno,banjo,rain,dog,flute,cello,sad"
    assert len(json.loads(call("tag", song, "--json", "--labels", labels)[1])["tags"]) == 10
    assert len(json.loads(call("tag", song, "--json", "--labels", labels, "--top", "12")[1])["tags"]) == 12


def test_labels_from_a_file(call: Call, song: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("# instruments\npiano\n\nviolin\n drums\n", encoding="utf-8-sig")
    _, out, _ = call("tag", song, "--labels-file", labels, "--labels", "piano,rain", "--json")
    assert {tag["tag"] for tag in json.loads(out)["tags"]} == {"piano", "rain", "violin", "drums"}


def test_a_threshold(call: Call, song: Path) -> None:
    _, out, _ = call("tag", song, "--labels", "piano,violin,drums", "--json")
    second = json.loads(out)["tags"][1]["score"]
    _, out, _ = call("tag", song, "--labels", "piano,violin,drums", "--json", "--threshold", str(second - 1e-5))
    assert len(json.loads(out)["tags"]) == 2
    status, out, err = call("tag", song, "--labels", "piano", "--threshold", "1")
    assert (status, out) == (0, "")
    assert "no tag reaches the threshold" in err


def test_the_table(call: Call, song: Path) -> None:
    status, out, _ = call("tag", song, "--labels", "piano,violin")
    assert status == 0
    assert out.splitlines()[0].split() == ["score", "tag"]
    assert sorted(line.split()[1] for line in out.splitlines()[1:]) == ["piano", "violin"]


def test_a_file_that_cannot_be_read_does_not_stop_the_rest(call: Call, song: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("no sound")
    labels = ("--labels", "piano,violin", "--json")
    status, out, err = call("tag", tmp_path / "text.mp3", song, tmp_path / "none.wav", song, *labels)
    assert status == 1
    assert [json.loads(line)["path"] for line in out.splitlines()] == [str(song), str(song)]
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "error"]
    assert "text.mp3" in err.splitlines()[0]
    assert "none.wav" in err.splitlines()[1]


def test_if_no_file_can_be_read(call: Call, tmp_path: Path) -> None:
    status, out, err = call("tag", tmp_path / "none.wav", "--labels", "piano")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")


def test_several_files_are_named_in_the_table(call: Call, library: Path) -> None:
    status, out, _ = call("tag", library / "plain.flac", library / "#hash.wav", "--labels", "piano")
    assert status == 0
    assert f"{library}/plain.flac  (0:12)" in out
    assert f"{library}/#hash.wav  (0:12)" in out


@pytest.mark.parametrize("labels", ["xqzzyv,wvvqk", "xqzzyv", ",, ,", ""])
def test_labels_that_cannot_be_scored(call: Call, song: Path, labels: str) -> None:
    status, out, err = call("tag", song, "--labels", labels)
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert all(word in err for word in labels.replace(",", " ").split())


def test_labels_that_cannot_be_scored_are_left_out_where_others_are_left(call: Call, song: Path) -> None:
    labels = "xqzzyv,piano,\u97f3\u697d,guitarrr,***,rain"
    status, out, err = call("tag", song, "--labels", labels, "--json")
    assert status == 0
    expected = [
        "warning: label 'xqzzyv': the model does not know 'xqzzyv'",
        "warning: label '\u97f3\u697d': the model reads English words, not '\u97f3\u697d' (Chinese characters)",
        "warning: label 'guitarrr': the model does not know 'guitarrr' (did you mean guitar, ",
        "warning: label '***': there is no word to search for in '***': give English words",
    ]
    assert len(err.splitlines()) == 4
    for line, start in zip(err.splitlines(), expected, strict=True):
        assert line.startswith(start) and line.endswith(": it is left out")
    found = json.loads(out)
    assert {tag["tag"] for tag in found["tags"]} == {"piano", "rain"}
    assert list(found["unknown"]) == ["xqzzyv", "\u97f3\u697d", "guitarrr", "***"]
    assert found["unknown"]["guitarrr"][0] == "guitar"
    plain = json.loads(call("tag", song, "--labels", "piano,rain", "--json")[1])
    assert found["tags"] == plain["tags"]
    assert "unknown" not in plain


def test_a_misspelled_label_is_read_as_the_word_that_is_meant_and_said(call: Call, song: Path) -> None:
    status, out, err = call("tag", song, "--labels", "accoustic guiatr,piano", "--json")
    assert status == 0
    assert err == "note: label 'accoustic guiatr' is read as 'acoustic guitar'; --literal takes it as it is written\n"
    found, plain = json.loads(out), json.loads(call("tag", song, "--labels", "acoustic guitar,piano", "--json")[1])
    assert found["read_as"] == {"accoustic guiatr": "acoustic guitar"}
    renamed = [{**tag, "tag": tag["tag"].replace("acoustic guitar", "accoustic guiatr")} for tag in plain["tags"]]
    assert found["tags"] == renamed
    status, out, err = call("tag", song, "--labels", "guiatr,piano", "--json", "--literal")
    assert one_line(err, start="warning: label 'guiatr': the model does not know 'guiatr' (did you mean guitar")
    assert (status, list(json.loads(out)["unknown"])) == (0, ["guiatr"])


def test_an_unknown_word_in_a_label_is_named(call: Call, song: Path) -> None:
    status, out, err = call("tag", song, "--labels", "xqzzyv piano", "--json")
    assert status == 0
    assert one_line(err, start="warning: label 'xqzzyv piano': the model does not know 'xqzzyv': it is scored without")
    assert json.loads(out)["tags"][0]["tag"] == "xqzzyv piano"


def test_near_spellings_other_scripts_and_negations_of_labels_are_named(call: Call, song: Path) -> None:
    labels = "violinn solo,guitar \u97f3,not sad,no vocals,piano"
    status, out, err = call("tag", song, "--labels", labels, "--json", "--literal")
    assert (status, len(json.loads(out)["tags"])) == (0, 5)
    assert err.splitlines() == [
        "warning: label 'violinn solo': the model does not know 'violinn' (did you mean violin, violins or violent?): "
        "it is scored without",
        "warning: label 'guitar \u97f3': the model reads English words, not '\u97f3' (Chinese characters): "
        "it is scored without",
        "warning: label 'not sad': a negation has no effect",
    ]


def test_many_labels_from_stdin_give_a_bounded_number_of_warnings(
    call: Call, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"piano xqz{i}y\n" for i in range(500))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"# labels\n{text}C# piano\n".encode())))
    status, out, err = call("tag", song, "--labels-file", "-", "--json", "--top", "1000")
    assert (status, len(json.loads(out)["tags"])) == (0, 501)
    assert len(err.splitlines()) == 11
    assert err.splitlines()[-1].startswith("warning: 491 more labels have words that the model does not know")
    text = "".join(f"xqz{i}y\n" for i in range(500))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{text}piano\n".encode())))
    status, out, err = call("tag", song, "--labels-file", "-", "--json")
    assert (status, len(json.loads(out)["unknown"]), len(json.loads(out)["tags"])) == (0, 500, 1)
    assert len(err.splitlines()) == 11
    assert err.splitlines()[-1].startswith("warning: 490 more labels are left out, 500 of 501 in all: the model does ")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    status, out, err = call("tag", song, "--labels-file", "-")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: no known word in these labels: 'xqz0y', ")
    assert "and 490 more" in err and len(err) < 600


def test_a_taggram(call: Call, song: Path, tmp_path: Path) -> None:
    picture = tmp_path / "song.png"
    status, _, err = call("tag", song, "--labels", "piano,violin", "--taggram", picture)
    assert (status, err) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG")
    status, _, err = call("tag", song, "--labels", "piano", "--threshold", "1", "--taggram", tmp_path / "no.png")
    assert status == 0
    assert "is not written" in err
    assert not (tmp_path / "no.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--taggram", "picture.mp3"),
        ("--taggram", "/none/picture.png", "--labels", "piano"),
        ("--labels-file", "/none/labels.txt"),
        ("--threshold", "2"),
        ("--top", "0"),
        ("--model", "/none"),
        ("--device", "nonsense"),
        ("another.wav", "--taggram", "picture.png"),
    ],
)
def test_a_command_line_that_cannot_be_followed(call: Call, song: Path, arguments: tuple[str, ...]) -> None:
    status, _, err = call("tag", song, *arguments)
    assert status == 2
    assert one_line(err, start="error: ")


def test_a_label_file_that_is_not_text(call: Call, song: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00piano")
    status, _, err = call("tag", song, "--labels-file", tmp_path / "labels.txt")
    assert status == 2
    assert one_line(err, start="error: ")


def test_no_file_is_an_error_that_names_the_help(call: Call) -> None:
    status, _, err = call("tag")
    assert status == 2
    assert one_line(err, start="error: ")
    assert "retrieve tag --help" in err


def test_loading_a_model_prints_nothing(capfd: pytest.CaptureFixture[str], song: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["tag", str(song), "--labels", "piano"])
    assert end.value.code == 0
    assert capfd.readouterr().err == ""  # of the whole process, libraries in C included
