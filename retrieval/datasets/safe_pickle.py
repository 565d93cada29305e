"""Read plain data, and nothing else, from a pickle file.

Loading a pickle executes it as a program. Two checks restrict it to data. First its opcodes are listed without being
executed (`pickletools`): lengths or memo indices beyond the file, and opcodes that plain data never needs, are refused.
Then `find_class` of the unpickler refuses every global except those of NumPy arrays and scalars, and replaces these by
classes of this module, which turn arrays of strings and numbers into lists and plain values.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["MAX_BYTES", "UnsafePickleError", "read_plain_pickle"]

MAX_BYTES = 64 * 1024 * 1024
"""A mapping of a few hundred clips takes some hundred kilobytes."""
_MAX_ITEMS = 1_000_000
"""Such a mapping has some ten thousand clip names and tags."""
_PLAIN_KINDS = frozenset("biufUS")  # numpy's kinds of booleans, numbers and strings: without objects
# Persistent ids, extension codes, out-of-band buffers and classic instances are not part of plain data.
_FOREIGN = frozenset(
    ("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "INST", "OBJ", "NEWOBJ_EX")
)


class UnsafePickleError(ValueError):
    """A pickle that is damaged, too large, or holds more than plain data."""


class _StandIn:
    """Replace a global of NumPy; it can be called, but not be given a state or attributes."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it gives a function a state")


class _Dtype:
    """A data type by its name. Its state adds only the byte order."""

    __slots__ = ("name", "order")

    def __init__(self, name: str) -> None:
        self.name = name
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("it has a data type with an unknown state")
        self.order = order

    def plain(self) -> np.dtype[Any]:
        dtype = np.dtype(self.name)
        if dtype.kind not in _PLAIN_KINDS or dtype.names is not None or dtype.subdtype is not None:
            raise pickle.UnpicklingError(f"it has an array of {dtype}: only strings and numbers are read")
        return dtype if self.order in "|=" else dtype.newbyteorder("<" if self.order == "<" else ">")


class _MakeDtype(_StandIn):
    __slots__ = ()

    def __call__(self, name: Any, *_: Any) -> _Dtype:
        if not isinstance(name, str) or len(name) > 16 or not name.lstrip("<>|=").isalnum():
            raise pickle.UnpicklingError("it has a data type of objects")
        return _Dtype(name)


class _NdarrayClass(_StandIn):
    """Replace the class `numpy.ndarray`."""

    __slots__ = ()


class _Array:
    """An array. `values` lists its elements once its state is set."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, data = state
        if isinstance(data, list):  # the state of an array of objects
            self.values = data
            return
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or len(shape) != 1:
            raise pickle.UnpicklingError("it has an array that is not one row of strings or numbers")
        self.values = np.frombuffer(data, dtype=dtype.plain()).tolist()


class _MakeArray(_StandIn):
    __slots__ = ()

    def __call__(self, *_: Any) -> _Array:
        return _Array()


class _MakeScalar(_StandIn):
    __slots__ = ()

    def __call__(self, dtype: Any, data: Any = None) -> Any:
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("it has a scalar that is not a string or a number")
        (value,) = np.frombuffer(data, dtype=dtype.plain()).tolist()
        return value


class _Encode(_StandIn):
    """Replace `_codecs.encode`: up to protocol 2, bytes are stored as text with this call."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any = None) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("it has bytes in an unknown form")
        return text.encode("latin-1")


_STAND_INS = {
    "dtype": _MakeDtype,
    "encode": _Encode,
    "ndarray": _NdarrayClass,
    "_reconstruct": _MakeArray,
    "scalar": _MakeScalar,
}
_HOMES = {
    "dtype": ("numpy",),
    "encode": ("_codecs",),
    "ndarray": ("numpy",),
    "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _HOMES.get(name, ()):
            return _STAND_INS[name]()
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_plain_pickle(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Any:
    """Return the lists, tuples, dicts, strings and numbers of a pickle file; NumPy arrays become lists.

    Raises:
        UnsafePickleError: the file is damaged, larger than `max_bytes`, or holds anything but plain data.
        OSError: the file cannot be read.
    """
    place = Path(path)
    with place.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise UnsafePickleError(f"{place} is larger than {max_bytes} bytes: it is not a list of clips or tags")
    try:
        _check_opcodes(data)
        value = _PlainUnpickler(io.BytesIO(data), fix_imports=False, encoding="utf-8").load()
        return _plain(value)
    except UnsafePickleError:
        raise
    except RecursionError:
        raise UnsafePickleError(f"{place} is not read: it is nested too deeply") from None
    except Exception as error:  # every opcode of a damaged pickle fails in its own way
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{place} is not read: {reason}; save it again as a plain list or dict of strings"
        raise UnsafePickleError(message) from None


def _check_opcodes(data: bytes) -> None:
    """Check the opcodes before the first object is made.

    Raises:
        ValueError: one of them could do harm.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _FOREIGN:
            raise ValueError(f"it has the opcode {opcode.name}")
        memo_index = opcode.name in {"PUT", "BINPUT", "LONG_BINPUT"}
        if memo_index and not (isinstance(argument, int) and 0 <= argument <= len(data)):
            raise ValueError("it has a memo index beyond the file")


def _plain(value: Any) -> Any:
    """Return a value with arrays as lists. The number of items is bounded: shared parts count once per reference."""
    left = _MAX_ITEMS

    def walk(item: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise pickle.UnpicklingError("it expands to more than a million items")
        if isinstance(item, _Array):
            return [walk(element) for element in item.values]
        if isinstance(item, dict):
            return {walk(key): walk(element) for key, element in item.items()}
        if isinstance(item, (list, tuple, set, frozenset)):
            return type(item)(walk(element) for element in item)
        if item is None or isinstance(item, (bool, int, float, str, bytes)):
            return item
        raise pickle.UnpicklingError(f"it holds a {type(item).__name__.lstrip('_')}")

    return walk(value)
