"""The decoding process: reads requests from stdin, writes hashes and chunks to stdout.

It runs apart from the model, so that decoding overlaps it and a decoder that hangs or crashes costs one file. It
imports neither torch nor the index's storage.

The protocol. A request is a line of JSON: `{"do": "hash", "tags" or "decode", "path": ..., "encoding": ...,
"sample_rate_hz": ..., "chunk_s": ...}`. An answer is a header (`HEADER`: kind and length of the payload) and its
payload. At the start the process sends READY. To `hash` it answers HASH, after any number of ALIVE; to `tags` TAGS; to
`decode` BEGIN, any number of CHUNK, and END. ERROR ends each of them at any point. The process ends when stdin closes.
`retrieval.indexing.decode_pool` is the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import IO, Any

from encoders.audio import AudioDecodeError, stream_chunks
from encoders.decode import declared_duration_s, header_duration_s
from retrieval.library.audio_hash import audio_hash
from retrieval.library.metadata import read_metadata
from retrieval.library.scan import content_hash

__all__ = ["HEADER", "SPAN", "Kind", "main"]

HEADER = struct.Struct("<BI")
"""Kind and length of the payload in bytes."""

SPAN = struct.Struct("<dd")
"""Start and end of a chunk in seconds; its float32 samples follow."""

_HEARTBEAT_S = 2.0
_OFF_SHARE = 0.01  # a header is wrong whose length is off by more than this share ...
_OFF_S = 0.1  # ... and this: encoders add up to 0.05 s, which is much of a short sound
_LOST_S = 1.0  # and a file that ends so much earlier is indexed in part


class Kind(IntEnum):
    """The kind of an answer, and its payload."""

    READY = 1  # empty
    ALIVE = 2  # empty: a long hash is still being computed
    HASH = 3  # JSON: content_hash, audio_hash
    BEGIN = 4  # JSON: expected_s, of the header, or null
    CHUNK = 5  # SPAN and samples
    END = 6  # JSON: duration_s, declared_s (if the header is wrong), note (why chunks are missing, or null)
    ERROR = 7  # JSON: reason, transient
    TAGS = 8  # JSON: what `read_metadata` returns


def main() -> None:
    """Serve requests until stdin closes, which it does when the parent ends in whatever way."""
    _go_first()
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # what a C library prints must not get between the messages
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    try:
        _send(answers, Kind.READY, b"")
        os.dup2(silence, 2)  # nor onto the user's terminal (mpg123 reports every damaged frame)
        while True:
            _serve(json.loads(requests.get()), answers)
    except OSError:  # the parent has gone
        os._exit(1)


def _go_first() -> None:
    """Have the system's memory killer take this process rather than the build, which would lose more."""
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _read_requests(requests: queue.SimpleQueue[bytes]) -> None:
    # In a thread, so that the end of the parent is noticed even while a decoder is stuck.
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _serve(request: dict[str, Any], answers: IO[bytes]) -> None:
    path = request["path"]
    try:
        if request["do"] == "hash":
            _send_hash(path, answers)
        elif request["do"] == "tags":
            with _system_errors(path), open(path, "rb"):  # a file that cannot be opened is not one without tags
                pass
            _send_json(answers, Kind.TAGS, read_metadata(path, encoding=request["encoding"]))
        else:
            _send_chunks(path, answers, sample_rate_hz=request["sample_rate_hz"], chunk_s=request["chunk_s"])
    except AudioDecodeError as error:
        _send_json(answers, Kind.ERROR, {"reason": error.reason, "transient": error.transient})
    except BrokenPipeError:
        raise
    except Exception as error:  # whatever a decoder raises must cost this file alone
        reason = f"unexpected {type(error).__name__}: {error}"
        transient = isinstance(error, MemoryError)
        _send_json(answers, Kind.ERROR, {"reason": " ".join(reason.split()), "transient": transient})


def _send_hash(path: str, answers: IO[bytes]) -> None:
    last_sign_s = time.monotonic()

    def show_life() -> None:
        nonlocal last_sign_s
        if time.monotonic() - last_sign_s > _HEARTBEAT_S:
            last_sign_s = time.monotonic()
            _send(answers, Kind.ALIVE, b"")

    with _system_errors(path):
        hashes = {
            "content_hash": content_hash(path, on_piece=show_life),
            "audio_hash": audio_hash(path, on_piece=show_life),
        }
    _send_json(answers, Kind.HASH, hashes)


@contextlib.contextmanager
def _system_errors(path: str) -> Iterator[None]:
    """Turn what the system refuses into an AudioDecodeError that another build may not meet."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise AudioDecodeError(path, reason, transient=True) from error


def _send_chunks(path: str, answers: IO[bytes], *, sample_rate_hz: int, chunk_s: float) -> None:
    _send_json(answers, Kind.BEGIN, {"expected_s": header_duration_s(path)})
    errors: list[str] = []
    chunks = stream_chunks(path, sample_rate_hz=sample_rate_hz, chunk_s=chunk_s, on_error=errors.append)
    while True:
        try:
            chunk = next(chunks)
        except StopIteration as end:
            _send_json(answers, Kind.END, _lengths(path, end.value, errors))
            return
        samples = chunk.samples.astype("<f4", copy=False)
        answers.write(HEADER.pack(Kind.CHUNK, SPAN.size + samples.nbytes))
        answers.write(SPAN.pack(chunk.start_s, chunk.end_s))
        answers.write(samples.data)
        answers.flush()


def _lengths(path: str, decoded_s: float, errors: list[str]) -> dict[str, object]:
    """Return the fields of END about the length of a file of which so many seconds were decoded."""
    declared_s = declared_duration_s(path)
    off_s = 0.0 if declared_s is None else declared_s - decoded_s
    is_wrong = declared_s is not None and abs(off_s) > max(_OFF_S, _OFF_SHARE * declared_s)
    reason = f" ({errors[0]})" if errors else ""
    note = f"decoding stopped after {decoded_s:.1f} s{reason}" if errors else None
    if is_wrong and off_s > _LOST_S:
        note = f"only {decoded_s:.1f} s of the {declared_s:.1f} s that it declares could be decoded{reason}"
    return {"duration_s": decoded_s, "declared_s": declared_s if is_wrong else None, "note": note}


def _send_json(answers: IO[bytes], kind: Kind, value: Mapping[str, object]) -> None:
    _send(answers, kind, json.dumps(value).encode("ascii"))


def _send(answers: IO[bytes], kind: Kind, payload: bytes) -> None:
    answers.write(HEADER.pack(kind, len(payload)) + payload)
    answers.flush()
