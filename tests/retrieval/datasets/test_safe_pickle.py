"""The restricted unpickler: plain data comes through, a program does not run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.datasets.safe_pickle import UnsafePickleError, read_plain_pickle
from scripts.miniatures.tags663 import write_pickle


def saved(folder: Path, value: Any, *, protocol: int = 4) -> Path:
    path = folder / "value.pkl"
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        write_pickle(path, value, protocol=protocol)
    return path


class Program:
    """What a pickle can make its reader do."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_data_comes_back(tmp_path: Path, protocol: int) -> None:
    value = {"a": ["x", "é"], "b": ("y", 1, 2.5, None, True), "c": []}
    assert read_plain_pickle(saved(tmp_path, value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_and_scalars_come_back_as_plain_values(tmp_path: Path, protocol: int) -> None:
    names = np.array(["one", "three"])
    value = {
        names[1]: [np.float32(0.5), np.int64(-7), np.bool_(True)],
        "names": names,
        "objects": np.array(["p", "q"], dtype=object),
        "numbers": np.arange(3, dtype=">i2"),
    }
    read = read_plain_pickle(saved(tmp_path, value, protocol=protocol))
    assert read == {
        "three": [0.5, -7, True],
        "names": ["one", "three"],
        "objects": ["p", "q"],
        "numbers": [0, 1, 2],
    }
    assert [type(item) for item in read["three"]] == [float, int, bool]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_program_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    witness = tmp_path / "was here"
    path = saved(tmp_path, {"clip": [Program(witness)]}, protocol=protocol)
    with pytest.raises(UnsafePickleError, match=r"value\.pkl is not read: it asks for \w+\.mkdir"):
        read_plain_pickle(path)
    assert not witness.exists()
    if protocol == 4:  # the same bytes do run elsewhere
        code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
        assert witness.exists()


@pytest.mark.parametrize(
    "value",
    [
        b"cbuiltins\neval\n(V1+1\ntR.",
        b"cnumpy\nload\n(Vx\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n}Vx\nVy\nsb.",  # a state for a stand-in
        b"cnumpy\ndtype\n(VO8\nI00\nI01\ntR.",  # a type left over where data is expected
        b"(icollections\nOrderedDict\n.",
        b"\x80\x02Pname\n.",
        b"r\xff\xff\xff\x7f.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.",
        b"",
        b"not a pickle",
        b"\x80\x04]\x8c\x05who",
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
        OrderedDict(a=1),
        np.zeros(2, dtype=[("a", "i4")]),
        np.zeros((2, 2)),
        Path("x"),
    ],
)
def test_all_else_is_refused_in_one_line(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UnsafePickleError) as refusal:
        read_plain_pickle(saved(tmp_path, value))
    assert "value.pkl" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    doubled: list[Any] = ["x"]
    for _ in range(60):
        doubled = [doubled, doubled]
    with pytest.raises(UnsafePickleError, match="a million"):
        read_plain_pickle(saved(tmp_path, doubled))
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(UnsafePickleError, match="nested too deeply"):
        read_plain_pickle(saved(tmp_path, itself))


def test_size_is_bounded(tmp_path: Path) -> None:
    path = saved(tmp_path, ["x" * 100])
    with pytest.raises(UnsafePickleError, match="larger than 50 bytes"):
        read_plain_pickle(path, max_bytes=50)
