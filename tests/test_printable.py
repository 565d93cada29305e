"""The rule for printing paths, which `index` and `encoders` each implement: neither may import the other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from encoders.decode import printable_path
from index import printable


@pytest.mark.parametrize("show", [printable, printable_path])
@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"music/a b.mp3", "music/a b.mp3"),
        ("\u00dcn\u00ef/\U0001f3b8.flac", "\u00dcn\u00ef/\U0001f3b8.flac"),
        (Path("a") / "b", str(Path("a") / "b")),
        (b"two\nlines\r\t", r"two\nlines\r\t"),
        (b"latin \xe9\xff", r"latin \xe9\xff"),
        (b"\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u202egnp.mp3 \u2028", r"\u202egnp.mp3 \u2028"),
        ("\U0001f468\u200d\U0001f3a4", "\U0001f468\u200d\U0001f3a4"),
        ("no\u00a0break", "no\u00a0break"),
        ("\u97f3\u697d\u3000\u00e9.wav", "\u97f3\u697d\u3000\u00e9.wav"),
        (b"", ""),
    ],
)
def test_printable(show: Callable[[str | bytes | Path], str], path: str | bytes | Path, shown: str) -> None:
    assert show(path) == shown
    assert len(show(path).splitlines()) <= 1
