"""Each format of word vectors, written by gensim, against gensim's own reading; and damaged files."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
from pathlib import Path
from urllib.error import URLError

import gensim.downloader
import numpy as np
import pytest
from gensim.models import FastText, KeyedVectors
from gensim.models.fasttext import FastTextKeyedVectors, load_facebook_vectors, save_facebook_model

from encoders.text import vector_files
from encoders.text.importers import import_word_vectors, normalised_token
from encoders.text.vector_files import read_vector_file
from encoders.text.word_vectors import WordVectors, WordVectorsError

WORDS = ["the", "Guitar", "double_bass", "hip-hop", "café", "rain"]
TOKENS = ["the", "guitar", "double_bass", "hip_hop", "cafe", "rain"]


@pytest.fixture(scope="module")
def keyed() -> KeyedVectors:
    vectors = KeyedVectors(vector_size=5)
    vectors.add_vectors(WORDS, np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float32))
    return vectors


@pytest.fixture(scope="module")
def fasttext_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fasttext") / "model.bin"
    rng = np.random.default_rng(0)
    sentences = [[str(word) for word in rng.choice(["guitar", "drums", "café", "東京", "rain"], 4)] for _ in range(50)]
    model = FastText(sentences, vector_size=6, min_count=1, epochs=2, bucket=30, min_n=2, max_n=4, seed=1, workers=1)
    save_facebook_model(model, str(path))
    return path


def expected(vectors: np.ndarray, shares: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit - (shares[:, None] * unit).sum(0)


def assert_vectors(words: WordVectors, tokens: list[str], vectors: np.ndarray) -> None:
    assert words.vocabulary.tokens[2:] == tokens
    for token, vector in zip(tokens, vectors, strict=True):
        np.testing.assert_allclose(words.vector(token), vector, atol=0.01)


@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.vec", "glove.txt", "v.txt.gz", "v.bin.gz"])
def test_each_format_gives_the_same_words(tmp_path: Path, keyed: KeyedVectors, name: str) -> None:
    path = tmp_path / name
    plain = tmp_path / name.removesuffix(".gz")
    keyed.save_word2vec_format(str(plain), binary=plain.suffix == ".bin", write_header=name != "glove.txt")
    if name == "v.vec":  # fastText ends each line with a space
        plain.write_text("".join(line + " \n" for line in plain.read_text(encoding="utf-8").splitlines()))
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes()))
    found = import_word_vectors(str(path))
    zipf = 1 / np.arange(1, 7) / (1 / np.arange(1, 7)).sum()
    assert_vectors(found.word_vectors, TOKENS, expected(keyed.vectors, zipf))
    np.testing.assert_allclose(found.word_vectors.weights[2:], 1e-3 / (1e-3 + zipf), rtol=1e-5)
    assert found.word_vectors.kind == ("glove" if name == "glove.txt" else "word2vec")
    assert (found.n_read, found.n_left_out, found.n_merged, found.n_repeated) == (6, 0, 0, 0)


def test_the_c_tools_line_feeds_after_vectors_are_skipped(tmp_path: Path, keyed: KeyedVectors) -> None:
    rows = [word.encode() + b" " + keyed[word].tobytes() + b"\n" for word in WORDS]
    (tmp_path / "v.bin").write_bytes(b"6 5\n" + b"".join(rows))
    assert import_word_vectors(str(tmp_path / "v.bin")).word_vectors.vocabulary.tokens[2:] == TOKENS


@pytest.mark.parametrize("packed", [False, True])
def test_a_fasttext_model_keeps_its_subwords(tmp_path: Path, fasttext_file: Path, packed: bool) -> None:
    path = fasttext_file
    if packed:
        path = tmp_path / "model.bin.gz"
        path.write_bytes(gzip.compress(fasttext_file.read_bytes()))
    oracle: FastTextKeyedVectors = load_facebook_vectors(str(fasttext_file))
    model = read_vector_file(path)
    assert model.words == oracle.index_to_key
    assert model.chars == (2, 4)
    np.testing.assert_allclose(model.vectors, oracle.vectors, atol=1e-6)
    np.testing.assert_array_equal(model.buckets, oracle.vectors_ngrams)

    words = import_word_vectors(str(path)).word_vectors
    counts = np.array([oracle.get_vecattr(word, "count") for word in oracle.index_to_key])
    tokens = [normalised_token(word) for word in oracle.index_to_key]
    vectors = np.stack([oracle[word] for word in oracle.index_to_key])
    assert_vectors(words, tokens, expected(vectors, counts / counts.sum()))
    assert words.kind == "fasttext"
    assert words.subwords is not None
    for unknown in ("guitarist", "ukulele", "naïveté"):
        bound = words.subwords.scales.max() / 2 + 1e-7
        np.testing.assert_allclose(words.subwords.vector(unknown), oracle.get_vector(unknown), atol=bound)


def test_words_are_spelt_as_queries_are_and_the_first_of_a_spelling_stays(tmp_path: Path) -> None:
    lines = ["Paris 1 0", "paris 0 1", "... 1 1", "/c/en/jazz_band 1 2", "/c/de/Haus 1 2", "rain 2 1", "rain 5 5"]
    lines += ["a_b_c_d_e 1 1", "\u00a0 3 3", "at name 4 4"]
    (tmp_path / "v.txt").write_text("\n".join([f"{len(lines)} 2", *lines]) + "\n", encoding="utf-8")
    found = import_word_vectors(str(tmp_path / "v.txt"))
    assert found.word_vectors.vocabulary.tokens[2:] == ["paris", "jazz_band", "rain", "at_name"]
    assert (found.n_read, found.n_left_out, found.n_merged, found.n_repeated) == (10, 4, 1, 1)
    assert found.word_vectors.vector("paris")[0] > 0


def test_the_limit_keeps_the_first_words(tmp_path: Path, keyed: KeyedVectors, fasttext_file: Path) -> None:
    keyed.save_word2vec_format(str(tmp_path / "v.txt"))
    assert import_word_vectors(str(tmp_path / "v.txt"), limit=2).word_vectors.vocabulary.tokens[2:] == TOKENS[:2]
    found = import_word_vectors(str(fasttext_file), limit=3)
    assert (found.n_read, len(found.word_vectors)) == (3, 3)
    whole, first = (read_vector_file(fasttext_file, limit=limit) for limit in (None, 3))
    assert first.words == whole.words[:3]
    np.testing.assert_array_equal(first.vectors, whole.vectors[:3])
    np.testing.assert_array_equal(first.buckets, whole.buckets)
    np.testing.assert_array_equal(first.counts, whole.counts[:3])
    assert import_word_vectors(str(fasttext_file), limit=3).word_vectors.encode(["ukulele"]).shape == (1, 6)


def as_binary(*rows: tuple[str, list[float]], header: bytes) -> bytes:
    return header + b"".join(word.encode() + b" " + np.array(v, "<f4").tobytes() for word, v in rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04...", "unzip it"),
        (b"\xfd7zXZ\0...", "any is packed by xz: unpack it"),
        (b"BZh91AY&SY", "any is packed by bzip2"),
        (b"\x28\xb5\x2f\xfd..", "any is packed by zstd"),
        (b"name" + bytes(253) + b"ustar\x0000", "any is a .tar archive"),
        (b"\x93NUMPY\x01\0", "any is a numpy array, which has no words"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a Git LFS pointer, .* by `git lfs pull`",
        ),
        (b"\n<!DOCTYPE html>\n<html><title>404</title>", r"any is a web page \(HTML\)"),
        (b"<!-- x -->\r\n<HTML lang=en>", r"any is a web page \(HTML\)"),
        (gzip.compress(b"<html>\n<body>", mtime=0), r"any is a web page \(HTML\)"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "any is an XML document, perhaps of an error"),
        (b'{"error": "not found"}', "any is JSON, perhaps of an error"),
        ("2 2\na 1 2\nb 3 4\n".encode("utf-16"), "any is text in UTF-16: save it as UTF-8"),
        (
            b"\xef\xbb\xbf" + as_binary(("a", [1, 2]), ("b", [3, 4]), header=b"2 2\n"),
            "a binary file with a byte order mark before its header, .* which damages it; copy it again",
        ),
        (b"\x80\x04\x95 pickle", "can run any program"),
        (b"\x1f\x8b\x08 no gzip", "truncated or damaged"),
        (b"just some words\n", "is not a word-vector file"),
        (b"\x00\x01\x02\x03", "is not a word-vector file"),
        (b"3 2\na 1 2\nb 3 4\n", r"truncated .its header announces 3 words, but it has 2.: copy it again"),
        (b"2 3\na 1 2 3\nb 3 4\n", "line 3: 2 values instead of 3"),
        (b"2 3\na 1 2\nb 3 4\n", "line 2: 2 values instead of 3, which its header announces; copy"),
        (b"3 2\na 1 2\nb 3 4\nc 5", "line 4: 1 values instead of 2, where the file ends; copy it again"),
        (b"a 1 2\nb 3\nc 5 6\n", "line 2: 1 values instead of 2; copy it again"),
        (b"a 1,5 2\nb 3 4\n", "is not a word-vector file"),
        (b"a 1 2\nb 3,5 4\n", "line 2: could not convert string to float: b?.3,5.; copy it again"),
        (b"a" + b" 1" * 10_001 + b"\n", "line 1: more than 10000 values"),
        (b"a 1 2\n\nb 1 inf\n", "line 3: the vector of 'b' is not finite .*; remove the line"),
        (b"a 1 2\nb 1 1e99\n", "line 2: the vector of 'b' is not finite"),
        (b"a 1 2 3\nb 4 5\n", "line 2: 2 values instead of 3"),
        (b"a 1 2\nb 3 x\n", "line 2: could not convert string to float: b?.x.; copy it again"),
        (b"2 2\na 1 2\nb nan 1\n", "the vector of 'b' is not finite"),
        (b"... 1 2\n!! 1 2\n", "none of its 2 words has letters or digits"),
        (
            as_binary(("a", [1, 2]), ("b", [3, 4]), header=b"3 2\n"),
            "is wrong .its header announces 3 words of 2 values, but after 2 whole words byte 24 of 24 begins none",
        ),
        (
            as_binary(("a", [1, 2]), ("b", [3, 4]), header=b"2 2\n")[:-3],
            "truncated, or its header is wrong .*, but after 1 whole words byte 14 of 21 begins none",
        ),
        (as_binary(("a", [1, 2]), ("b", [3, 4]), header=b"2 3\n"), "truncated, or its header is wrong"),
        (
            as_binary(("a", [1, 2]), ("b", [3, 4]), header=b"1 2\n"),
            "continues after its last word .its header",
        ),
        (as_binary(("a", [1, 2]), ("b", [np.inf, 4]), header=b"2 2\n"), "the vector of 'b' is not finite"),
        (gzip.compress(b"9000 2\n" + b"a 1 2\n" * 9000, mtime=0)[:-20], "truncated or damaged"),
        # Headers that would have gensim allocate terabytes.
        (as_binary(("a", [1, 2]), header=b"1000000000000 2\n"), "truncated, or its header is wrong"),
        (as_binary(("a", [1, 2]), header=b"1000000 9999\n"), "truncated, or its header is wrong"),
        (b"1000000000000 2\na 1 2\n", "truncated .its header announces 1000000000000 words, but it has 1"),
        (b"1 1000000\na 1 2\n", "is not a word-vector file"),
        (b"a 1 2\n" + b"b" * 400_000 + b" 1 2\n", "has a line of more than"),
        (b"0 2\n", "none of its 0 words"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "vectors.any"
    path.write_bytes(content)
    with pytest.raises(WordVectorsError, match=message) as error:
        import_word_vectors(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "n_words", "notes"),
    [
        (b"\xef\xbb\xbfa 1 2\nb 3 4\n", 2, ("it begins with a byte order mark, which is ignored",)),
        (b"\xef\xbb\xbf2 2\r\na 1 2\r\nb 3 4\r\n", 2, ("it begins with a byte order mark, which is ignored",)),
        (b"1 2\na 1 2\nb 3 4\n", 2, ("its header announces 1 words, but it has more: 2 are read",)),
        (b"2 2\na 1 2\nb 3 4\n", 2, ()),
        (b"<unk> 1 2\n{ 3 4\nb 3 4\n", 3, ()),  # GloVe has such words, which are no web page
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_fault_that_does_no_harm_is_read_and_said(
    tmp_path: Path, content: bytes, n_words: int, notes: tuple[str, ...], packed: bool
) -> None:
    path = tmp_path / "vectors.any"
    path.write_bytes(gzip.compress(content) if packed else content)
    found = import_word_vectors(str(path))
    assert (found.n_read, found.notes) == (n_words, notes)


def test_a_believed_header_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "vectors.any"
    for content in (b"999999999999 9999\na 1 2\n", as_binary(("a", [1, 2]), header=b"999999999 9999\n")):
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(WordVectorsError):
            import_word_vectors(str(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 << 20


def test_a_fasttext_file_cut_anywhere_is_named(tmp_path: Path, fasttext_file: Path) -> None:
    whole = fasttext_file.read_bytes()
    path = tmp_path / "cut.bin"
    matrix_end = len(whole) - 8  # what follows the first matrix is not read
    for length in (4, 7, 30, 70, 95, 110, 150, 400, matrix_end // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(WordVectorsError, match="truncated or damaged"):
            import_word_vectors(str(path))


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (4, 10, "format 10"),
        (8, 7, "a matrix of 35 x 6 instead of 35 x 7"),
        (8, -1, "announces -1 values"),
        (40, 2**31 - 1, "a matrix of 35 x 6 instead of"),
        (64, 2**31 - 1, "announces .* of 2147483647"),
        (72, 1, "a classifier"),
    ],
)
def test_a_fasttext_file_of_another_kind_is_named(
    tmp_path: Path, fasttext_file: Path, at: int, value: int, message: str
) -> None:
    content = bytearray(fasttext_file.read_bytes())
    content[at : at + 4] = value.to_bytes(4, "little", signed=True)
    (tmp_path / "other.bin").write_bytes(content)
    with pytest.raises(WordVectorsError, match=message):
        import_word_vectors(str(tmp_path / "other.bin"))


def test_a_fasttext_matrix_larger_than_the_file_is_not_allocated(tmp_path: Path, fasttext_file: Path) -> None:
    content = bytearray(fasttext_file.read_bytes())
    n_buckets = 2**31 - 1 - 5
    content[40:44] = n_buckets.to_bytes(4, "little")
    at = content.index(struct.pack("<?2q", False, 35, 6)) + 1
    content[at : at + 8] = (n_buckets + 5).to_bytes(8, "little")
    (tmp_path / "v.bin").write_bytes(content)
    with pytest.raises(WordVectorsError, match=r"truncated or damaged \(the matrix is incomplete"):
        import_word_vectors(str(tmp_path / "v.bin"))


def test_a_packed_file_is_unpacked_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"1000 2\n" + b"\x01" + bytes(50_000_000), compresslevel=1))
    assert path.stat().st_size < 1_000_000
    monkeypatch.setattr(vector_files, "MAX_UNPACKED_BYTES", 1 << 24)
    with pytest.raises(WordVectorsError, match=r"unpacks to more than 0.0156\d* GiB: give a file with fewer words"):
        import_word_vectors(str(path))
    # Of a text file no more is unpacked than the lines that are read.
    path.write_bytes(gzip.compress(b"a 1 2\n" * 20_000_000, compresslevel=1))
    assert import_word_vectors(str(path), limit=3).n_read == 3


def test_what_files_in_use_have_beside_words_and_values_is_read(tmp_path: Path) -> None:
    rows = ["\ufeff4 2", "rain\t1\t2", "", "at name 3 4 ", "caf\u00e9 5 6\r", "\u00a0 7 8"]
    (tmp_path / "v.txt").write_text("\n".join(rows), encoding="utf-8")
    found = read_vector_file(tmp_path / "v.txt")
    assert found.words == ["rain", "at_name", "caf\u00e9", "\u00a0"]
    np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4], [5, 6], [7, 8]])
    (tmp_path / "v.bin").write_bytes(b"2 1\n" + b"caf\xe9 " + bytes(4) + b"b " + bytes(4))
    assert import_word_vectors(str(tmp_path / "v.bin")).word_vectors.vocabulary.tokens[2:] == ["caf", "b"]


def test_gensims_own_files_are_not_unpickled(tmp_path: Path, keyed: KeyedVectors) -> None:
    keyed.save(str(tmp_path / "v.kv"))
    with pytest.raises(WordVectorsError, match="save_word2vec_format"):
        import_word_vectors(str(tmp_path / "v.kv"))


def test_a_name_is_fetched_by_gensim_without_running_what_comes_with_it(
    tmp_path: Path, keyed: KeyedVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny-vectors"
    folder.mkdir()
    keyed.save_word2vec_format(str(tmp_path / "v.txt"))
    (folder / "tiny-vectors.gz").write_bytes(gzip.compress((tmp_path / "v.txt").read_bytes()))
    (folder / "__init__.py").write_text("raise SystemExit('run')\n")
    listing = {"corpora": {}, "models": {"tiny-vectors": {"file_name": "tiny-vectors.gz"}}}
    monkeypatch.setattr(gensim.downloader, "BASE_DIR", str(tmp_path))
    monkeypatch.setattr(gensim.downloader, "urlopen", lambda url: io.BytesIO(json.dumps(listing).encode()))
    assert import_word_vectors("tiny-vectors").word_vectors.vocabulary.tokens[2:] == TOKENS
    with pytest.raises(WordVectorsError, match="no vectors of that name; it has tiny-vectors"):
        import_word_vectors("other-vectors")


def test_a_network_that_fails_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(url: str) -> None:
        raise URLError("no route")

    monkeypatch.setattr(gensim.downloader, "BASE_DIR", str(tmp_path))
    monkeypatch.setattr(gensim.downloader, "urlopen", fail)
    with pytest.raises(WordVectorsError, match=r"could not fetch vectors .* check the network, or download"):
        import_word_vectors("glove-twitter-25")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("source", "message"), [("no/such.txt", "no file no/such.txt"), (".", "is a folder")])
def test_a_path_that_is_no_file_is_named(source: str, message: str) -> None:
    with pytest.raises(WordVectorsError, match=message):
        import_word_vectors(source)
