"""The encoding of tags that name none: ID3v1, RIFF INFO, and ID3v2 frames that say Latin-1 and hold something else.

The texts of one file are judged together: titles are short. What is UTF-8 is read as such. What reads well in Western
Europe stays as it is. Russian, Greek, Japanese, Chinese and Korean are told by what is common in them (the case of
letters within words, the rows of the tables that hold common characters), because charset-normalizer, which judges the
rest, needs more text for these.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["check_encoding", "decode_texts", "guess_encoding"]

_MOST_BYTES = 4096  # that are judged

_CYRILLIC = frozenset("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ")
_GREEK = frozenset("αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋΐΰ")
_HEBREW = frozenset("אבגדהוזחטיכלמנסעפצקרשתךםןףץ")
_VOWELS = frozenset("аеиоуыэюяёіїєαεηιουωάέήίόύώϊϋΐΰ") | _HEBREW
_NEVER_FIRST = frozenset("ьъыςךםןףץ")
_COMMON = frozenset("оеаинтсрвлкйαοιετνσρςηκיוהלרבתמאשנם")
_PUNCTUATION = frozenset("«»—–’‘“”„…№·©®™ ")
_ALPHABETS = (("cp1251", _CYRILLIC), ("cp1253", _GREEK), ("cp1255", _HEBREW), ("koi8_r", _CYRILLIC))
_LEAST_LETTERS = 3
_LEAST_HIGH_BYTES = 3
_ASCII_VOWELS = b"aeiouAEIOU"
# A quarter of Korean text; of Chinese text read as Korean, a sixteenth.
_COMMON_HANGUL = frozenset(
    "이다에의는로하을가고지서한은기으년대사시를리도인스일나그아어자라소해보정수장전제주상부마구모공안여우유원세무오미신비너"
    "내노당동랑만면물바방새생선성속심애연영요월음조저진차천타태하행화힘김강남밤봄별꿈눈길곡집"
)
_WORD = re.compile(r"[^\W\d_]+")

# How common characters look in two bytes: kana and the first level of the national standards.
_Rows = Sequence[tuple[range, range]]
_HIGH = range(0xA1, 0xFF)
_SHIFT_JIS: _Rows = (
    (range(0x82, 0x84), range(0x40, 0xFD)),
    (range(0x88, 0x98), range(0x40, 0xFD)),
    (range(0x81, 0x82), range(0x40, 0xAD)),
)
_EUC_JP: _Rows = ((range(0xA4, 0xA6), _HIGH), (range(0xB0, 0xD0), _HIGH), (range(0xA1, 0xA2), _HIGH))
_BIG5: _Rows = ((range(0xA4, 0xC7), range(0x40, 0xFF)), (range(0xA1, 0xA3), range(0x40, 0xFF)))
_DOUBLE_BYTE: tuple[tuple[str, _Rows], ...] = (
    ("cp932", _SHIFT_JIS),
    ("cp949", ((range(0xB0, 0xC9), _HIGH), (range(0xA1, 0xA2), _HIGH))),
    ("gb18030", ((range(0xB0, 0xD8), _HIGH), (range(0xA1, 0xA4), _HIGH))),
    ("big5", _BIG5),
    ("euc_jp", _EUC_JP),
)
# Kana alone; as Cyrillic, every other letter would be the rare \u0490.
_KANA = re.compile(rb"(?:[\x00-\x7f]*(?:[\xa4\xa5][\xa1-\xf6]|\xa1[\xa1-\xfe]))+[\x00-\x7f]*")
_LEAST_SHARE = 0.6
_LEAST_SHARE_IN_LATIN = 0.8

_LATIN = ["cp1250", "cp1254", "cp1257", "cp1252"]
_OTHERS = ["cp1251", "cp1253", "cp1255", "cp1256", "tis_620", "koi8_r", *_LATIN]


def check_encoding(name: str) -> None:
    """Refuse what is no encoding of which ASCII is a part.

    Raises:
        ValueError: the message says what to give.
    """
    try:
        if b"Title 1".decode(name) == "Title 1":
            return
    except (LookupError, UnicodeError, ValueError):
        pass
    raise ValueError(
        f"unknown tag encoding {name!r}: give one that Python knows and that has ASCII in it, such as cp1251, cp1253, "
        "shift_jis, gbk, big5, euc_kr or latin-1"
    )


def decode_texts(texts: Sequence[bytes], *, encoding: str | None = None) -> list[str]:
    """Decode the undeclared texts of one file.

    Args:
        texts: as they are in the file.
        encoding: of those that are not UTF-8; None: guess it.
    """
    legacy = [text for text in texts if not _is_utf8(text)]
    if legacy and encoding is None:
        encoding = guess_encoding(b"\n".join(legacy))
    return [text.decode("utf-8" if _is_utf8(text) or encoding is None else encoding, "replace") for text in texts]


def guess_encoding(data: bytes) -> str:
    """Return the Python name of the encoding of a text that is not UTF-8."""
    data = data[:_MOST_BYTES]
    if _is_western(data):
        return "cp1252"
    if _KANA.fullmatch(data):
        return "euc_jp"
    scores = {name: score for name, letters in _ALPHABETS if (score := _alphabet_score(data, name, letters)) > 0}
    if scores:
        return max(scores, key=lambda name: scores[name])
    n_high = sum(byte >= 0x80 for byte in data)
    is_latin = sum(data.count(letter) for letter in _ASCII_VOWELS) > n_high
    shares = {name: _common_share(data, name, rows) for name, rows in _DOUBLE_BYTE}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] >= (_LEAST_SHARE_IN_LATIN if is_latin else _LEAST_SHARE):
        return best
    if n_high < _LEAST_HIGH_BYTES and not is_latin:
        return "cp1252"
    import charset_normalizer  # here, because hardly any file needs it

    match = charset_normalizer.from_bytes(data, cp_isolation=_LATIN if is_latin else _OTHERS, threshold=0.5).best()
    return match.encoding if match is not None else "cp1252"


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decode(data: bytes, name: str) -> str:
    """Decode a text that may be cut within a character at its end."""
    return codecs.getincrementaldecoder(name)().decode(data)


def _is_western(data: bytes) -> bool:
    """Return whether a text reads well in Western Europe: few accents, one at a time, amid ASCII letters."""
    try:
        text = _decode(data, "cp1252")
    except UnicodeDecodeError:
        return False
    if re.search(r"[^\x00-\x7f\W]{3}", text):
        return False
    odd = re.compile(r"[^\W\d_][^\x00-\x7f\w’‘ ][^\W\d_]|[ƒ†‡ˆ‰‹‚„¢¤¥¦¨¬¯±²³µ¶¸¹¼¾¿£](?=[^\W\d_])")
    if odd.search(re.sub(r"(^|\s)[¿„‚‹]", r"\1", text)):
        return False
    n_letters = sum(character.isascii() and character.isalpha() for character in text)
    if n_letters < 2 * sum(0x80 <= byte < 0xA0 for byte in data):
        return False
    for word in _WORD.findall(text):
        if len(word) > 1 and not any(character.isascii() for character in word):
            return False
        if any(one.islower() and two.isupper() and not two.isascii() for one, two in pairwise(word)):
            return False
    return True


def _alphabet_score(data: bytes, name: str, letters: frozenset[str]) -> float:
    """Return the share of common letters if a text is written in an alphabet as people write it, else 0."""
    try:
        text = _decode(data, name)
    except UnicodeDecodeError:
        return 0.0
    foreign = {character for character in text if not character.isascii()} - _PUNCTUATION
    if not foreign or not all(character.lower() in letters for character in foreign):
        return 0.0
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    joined = "".join(words).lower()
    if len(joined) < _LEAST_LETTERS or not all(_is_word(word) for word in words):
        return 0.0
    return sum(unicodedata.normalize("NFD", character)[0] in _COMMON for character in joined) / len(joined)


def _is_word(word: str) -> bool:
    """Return whether a word is of one alphabet, and its capitals, vowels and first letter are where they belong."""
    if any(character.isascii() for character in word):
        return False
    has_case = word.isupper() or word[1:].islower() or len(word) == 1 or word[0] in _HEBREW
    has_vowel = len(word) < 4 or any(character in _VOWELS for character in word.lower())
    return has_case and has_vowel and word[0].lower() not in _NEVER_FIRST


def _common_share(data: bytes, name: str, rows: _Rows) -> float:
    """Return the share of common characters among those of two bytes; 0 where the text is not in the encoding."""
    try:
        _decode(data, name)
    except UnicodeDecodeError:
        return 0.0
    if name == "cp949" and not _is_korean(data):
        return 0.0
    if name == "euc_jp" and not re.search(rb"[\xa4\xa5][\xa1-\xf6]", data):  # the rows of kana
        return 0.0
    n_common = n_all = position = 0
    while position < len(data):
        lead = data[position]
        if lead < 0x80 or (name == "cp932" and 0xA1 <= lead <= 0xDF):
            n_all += lead >= 0x80
            position += 1
            continue
        trail = data[position + 1] if position + 1 < len(data) else 0
        n_common += any(lead in leads and trail in trails for leads, trails in rows)
        n_all += 1
        position += 2
    return n_common / n_all if n_all else 0.0


def _is_korean(data: bytes) -> bool:
    characters = [character for character in _decode(data, "cp949") if not character.isascii()]
    return 4 * sum(character in _COMMON_HANGUL for character in characters) >= len(characters)
