"""Encodings of tags that name none."""

from __future__ import annotations

import random

import pytest

from retrieval.library.tag_encoding import check_encoding, decode_texts, guess_encoding

TEXTS = {
    "cp1251": ["Кино", "Группа крови", "Виктор Цой", "КИНО", "ДДТ", "Океан Ельзи Обійми", "Би-2 Полковнику", "DJ Грув"],
    "koi8_r": ["Группа крови", "Мумий Тролль"],
    "cp1253": ["Ζορμπάς", "ΖΟΡΜΠΑΣ", "Μίκης Θεοδωράκης Το τρένο", "Γιώργος Νταλάρας"],
    "cp932": ["夜に駆ける", "椎名林檎 無罪モラトリアム", "テスト", "日本", "宇多田ヒカル First Love", "久石譲"],
    "euc_jp": ["椎名林檎 無罪モラトリアム", "テスト"],
    "gbk": ["月亮代表我的心", "邓丽君 甜蜜蜜", "周杰伦", "Beyond 海阔天空", "东方红", "茉莉花"],
    "big5": ["鄧麗君 甜蜜蜜", "王菲 紅豆", "周杰倫 青花瓷"],
    "cp949": ["아리랑", "강남스타일 싸이", "방탄소년단 봄날", "사랑"],
    "cp1255": ["הבה נגילה"],
    "cp1256": ["أم كلثوم إنت عمري", "فيروز"],
    "cp1252": [
        "Björk",
        "Ärger & Söhne",
        "L'été",
        "«Été»",
        "Sigur Rós Ágætis byrjun",
        "Mylène Farmer – L’âme",
        "D’Angelo’s “Voodoo”",
        "¿Dónde estás?",
        "CAFÉ",
        "Größe",
        "Þú ert",
        "São Paulo",
        "©1999",
    ],
}


@pytest.mark.parametrize(("encoding", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts])
def test_short_texts_are_recognised(encoding: str, text: str) -> None:
    data = text.encode(encoding)
    assert data.decode(guess_encoding(data)) == text


def test_the_texts_of_a_file_are_judged_together() -> None:
    texts = ["Я", "Кино", "abc", "Группа крови"]
    assert decode_texts([text.encode("cp1251") for text in texts]) == texts
    assert decode_texts([b"\xdf"]) == ["ß"]  # alone, one letter says nothing


def test_utf8_is_read_as_such_whatever_is_given() -> None:
    texts = ["Кино", "夜に駆ける", "Ärger", "plain"]
    data = [text.encode() for text in texts]
    assert decode_texts(data) == texts
    assert decode_texts([*data, "Цой".encode("cp1251")], encoding="cp1251") == [*texts, "Цой"]


def test_a_given_encoding_is_taken_and_never_fails() -> None:
    assert decode_texts(["Dvořák".encode("cp1250")], encoding="cp1250") == ["Dvořák"]
    assert decode_texts([b"\x98\xff"], encoding="cp1251") == ["�я"]
    assert decode_texts([b"\xff"], encoding="ascii") == ["�"]


@pytest.mark.parametrize(("encoding", "text"), [(name, texts[0]) for name, texts in TEXTS.items() if name != "koi8_r"])
@pytest.mark.parametrize("n_before", [0, 1])
def test_long_texts_are_judged_by_their_start(encoding: str, text: str, n_before: int) -> None:
    data = b"a" * n_before + f" {text}".encode(encoding) * 2000
    assert guess_encoding(data) == guess_encoding(text.encode(encoding))


def test_any_bytes_have_an_encoding() -> None:
    rng = random.Random(0)
    for n_bytes in range(300):
        data = rng.randbytes(n_bytes)
        assert all(isinstance(text, str) for text in decode_texts([data, data[:5]]))


def test_long_texts_take_no_time() -> None:
    assert decode_texts([b"\xff\xfe\xe0" * 300_000])


@pytest.mark.parametrize("name", ["", "cp9999", "hex", "utf-16", "rot13", "a\0b", "base64", "Ж", "x" * 10_000])
def test_what_is_no_encoding_of_tags_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown tag encoding .*cp1251"):
        check_encoding(name)


@pytest.mark.parametrize("name", ["cp1251", "Shift_JIS", "gbk", "latin-1", "UTF8"])
def test_encodings_of_tags_are_accepted(name: str) -> None:
    check_encoding(name)
