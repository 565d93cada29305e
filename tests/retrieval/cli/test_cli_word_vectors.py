"""`retrieve word-vectors` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from encoders.text.word_vectors import WordVectors

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def text_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    lines = ["loud drums and electric guitar", "soft harp and whisper", "electric guitar and bass"] * 20
    (folder / "a.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_text("guitar 1 0 0\nbanjo 0.9 0.1 0\nrain 0 0 1\nrain 0 1 1\n... 1 1 1\n")
    return path


def test_train_then_info(call: Call, text_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "my.vectors"
    options = ("--kind", "fasttext", "--dim", "8", "--epochs", "2", "--buckets", "40", "--phrases")
    code, printed, err = call("word-vectors", "train", text_dir, "--out", out, *options)
    assert (code, err) == (0, "")
    assert printed.splitlines()[0] == "60 sentences"
    labels = tmp_path / "labels.txt"
    labels.write_text("# two\nharp\nzither\n")
    code, printed, err = call("word-vectors", "info", out, "electric guitar", "zither", "--labels", labels, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(printed)
    assert (facts["kind"], facts["dim"], facts["subword_buckets"]) == ("fasttext", 8, 40)
    assert facts["labels"] == {"known": ["harp"], "partly": [], "subwords": ["zither"], "unknown": []}
    assert {near["word"] for near in facts["neighbours"]["zither"]} >= {"harp", "drums"}
    code, printed, _ = call("word-vectors", "info", out, "zither", "--labels", labels, "--top", "3")
    assert code == 0
    assert "neighbours of zither (from subwords)" in printed
    assert WordVectors.load(out).encode(["zither"]).shape == (1, 8)


def test_training_twice_gives_the_same_file(call: Call, text_dir: Path, tmp_path: Path) -> None:
    files = [tmp_path / "once.vectors", tmp_path / "twice.vectors"]
    for file in files:
        code, printed, _ = call(
            "word-vectors", "train", text_dir, "--out", file, "--dim", "8", "--epochs", "1", "--json"
        )
        assert code == 0
        assert json.loads(printed)["words"] == 9
    assert files[0].read_bytes() == files[1].read_bytes()


def test_import_then_info(call: Call, glove: Path, tmp_path: Path) -> None:
    out = tmp_path / "glove.vectors"
    code, printed, err = call("word-vectors", "import", glove, "--out", out)
    assert code == 0
    assert printed.splitlines()[0] == "3 words of 3 values (glove), 5 read"
    assert err == f"warning: {glove} repeats 1 words: their first vectors are kept\n"
    code, printed, _ = call("word-vectors", "info", out, "guitar", "--top", "1")
    assert code == 0
    assert printed.splitlines()[-1].split()[-1] == "banjo"
    code, _, err = call("word-vectors", "info", out, "guitr")
    assert code == 2
    assert err == "error: the model knows none of these words: 'guitr' (guitr: did you mean guitar?)\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "{tmp}/empty", "--out", "{tmp}/o"), "has no .txt"),
        (("train", "{tmp}/missing", "--out", "{tmp}/o"), "is not a folder"),
        (("train", "{tmp}/texts", "--out", "{tmp}/o", "--kind", "bert"), "choose one of word2vec, fasttext"),
        (("train", "{tmp}/texts", "--out", "{tmp}/no/such/o"), "there is no folder"),
        (("train", "{tmp}/texts", "--out", "{tmp}/texts"), "give the file to write"),
        (("train", "{tmp}/texts", "--out", "{tmp}/o", "--min-count", "999"), "lower --min-count"),
        (("import", "{tmp}/texts/a.txt", "--out", "{tmp}/o"), "is not a word-vector file"),
        (("import", "{tmp}/none.vec", "--out", "{tmp}/o"), "no file"),
        (("info", "{tmp}/texts/a.txt"), "not a word-vector file, or is damaged"),
        (("info", "{tmp}/none.vectors"), "No such file"),
        (("info",), "Missing argument"),
    ],
)
def test_bad_input_is_one_line(
    call: Call, text_dir: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    code, printed, err = call("word-vectors", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert (code, printed) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_labels_that_cannot_be_read_are_one_line(call: Call, glove: Path, tmp_path: Path) -> None:
    out = tmp_path / "glove.vectors"
    call("word-vectors", "import", glove, "--out", out)
    (tmp_path / "labels.txt").write_text("# none\n")
    code, _, err = call("word-vectors", "info", out, "--labels", tmp_path / "labels.txt")
    assert code == 2
    assert "has no labels: write one a line" in err
    assert err.count("\n") == 1
