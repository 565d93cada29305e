"""Expected errors of every command: one line that names what is wrong, and a reader that goes away."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer.main
from cli_helpers import Call, Run, environment, one_line

from retrieval.cli.app import app, main
from retrieval.cli.errors import EXPECTED, is_expected

ROOT = Path(__file__).parents[3]


def commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the command object of every command."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


def values(kind: type, command: Any) -> list[str]:
    """Return the options of a command whose values have this type."""
    hints = get_type_hints(command.callback)
    return [
        param.opts[0]
        for param in command.params
        if param.param_type_name == "option" and kind in (hints.get(param.name), *get_args(hints.get(param.name)))
    ]


def required(command: Any, *but: str) -> list[str]:
    """Return values for the options that a command requires."""
    return [part for param in command.params if param.required for part in (param.opts[0], "x")
            if param.param_type_name == "option" and param.opts[0] not in but]  # fmt: skip


COMMANDS = dict(commands(typer.main.get_command(app)))
FLOAT_OPTIONS = [(path, option) for path, command in COMMANDS.items() for option in values(float, command)]
VALUE_OPTIONS = [
    (path, param.opts[0])
    for path, command in COMMANDS.items()
    for param in command.params
    if param.param_type_name == "option" and not param.is_flag
]
PATH_ARGUMENTS = [("index", "build"), ("tag",), ("word-vectors", "info"), ("word-vectors", "train")]


def arguments_of(path: tuple[str, ...]) -> list[str]:
    """Return something for each required argument of a command."""
    return ["x" for param in COMMANDS[path].params if param.param_type_name == "argument" and param.required]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("path", "option"), FLOAT_OPTIONS)
def test_a_number_that_is_not_finite_is_refused_by_name(
    call: Call, path: tuple[str, ...], option: str, value: str
) -> None:
    command = COMMANDS[path]
    status, out, err = call(*path, *arguments_of(path), *required(command, option), f"{option}={value}")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert option in err


@pytest.mark.parametrize(("path", "option"), VALUE_OPTIONS)
def test_an_empty_value_is_refused_by_name(call: Call, path: tuple[str, ...], option: str) -> None:
    command = COMMANDS[path]
    status, out, err = call(*path, *arguments_of(path), *required(command, option), option, "")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert option in err


@pytest.mark.parametrize("path", PATH_ARGUMENTS)
def test_an_empty_path_is_not_the_working_directory(call: Call, path: tuple[str, ...]) -> None:
    status, out, err = call(*path, "", *required(COMMANDS[path]))
    assert (status, out) == (2, "")
    assert one_line(err, start="error: Invalid value for")
    assert "is empty" in err


def test_the_lists_of_options_are_not_empty() -> None:
    assert (("search",), "--min-score") in FLOAT_OPTIONS
    assert (("tag",), "--threshold") in FLOAT_OPTIONS
    assert (("index", "build"), "--index") in VALUE_OPTIONS
    assert len(FLOAT_OPTIONS) > 8 and len(VALUE_OPTIONS) > 60


@pytest.mark.parametrize("value", ["-1.01", "1.5", "high"])
def test_a_score_out_of_range_is_refused(call: Call, value: str) -> None:
    status, out, err = call("violin", f"--min-score={value}")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert "--min-score" in err


def test_every_named_exception_is_expected_or_said_to_be_a_fault() -> None:
    named = set()
    for file in sorted(ROOT.glob("*/**/*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        if not module.startswith(("encoders.", "index.", "retrieval.")):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.bases:
                found = getattr(importlib.import_module(module), node.name, None)
                if isinstance(found, type) and issubclass(found, BaseException):
                    named.add(f"{module}.{node.name}")
    assert len(named) > 15
    # Raised only to be caught: by the converter of pickles, the pool, the command, the reader of tags;
    # or a kind of one that is expected, or of the Python interface alone.
    handled = {
        "encoders.decoding.ffmpeg.UnknownFormatError",
        "encoders.zero_shot.UnknownLabelsError",
        "index.store._Exchanged",
        "retrieval.datasets.safe_pickle.UnsafePickleError",
        "retrieval.indexing.types.IngestInterrupted",
        "retrieval.indexing.worker_process.WorkerDiedError",
        "retrieval.library.raw_tags.TagTooLargeError",
    }
    assert named - set(EXPECTED) <= handled
    assert {name for name in EXPECTED if name.startswith(("encoders.", "index.", "retrieval."))} <= named


def test_an_error_is_expected_by_its_class_or_a_parent_of_it() -> None:
    from encoders.checkpoint import ModelDirError

    class Finer(ModelDirError):
        pass

    assert is_expected(Finer("x")) and is_expected(FileNotFoundError("x"))
    assert not is_expected(ValueError("x")) and not is_expected(KeyError("x"))


def without_reader(*arguments: str, close: bool = False) -> tuple[int, bytes]:
    """Run the command with a stdout that nobody reads, or that is closed: (exit status, stderr)."""
    ours, theirs = os.pipe()
    os.close(ours)
    process = subprocess.Popen(
        [sys.executable, "-m", "retrieval", *arguments] if not close
        else ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "retrieval", *arguments],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment(),
    )  # fmt: skip
    os.close(theirs)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize(
    "arguments", [("--help",), ("search", "--help"), ("--version",), ("models", "musicnn", "--json"), ()]
)
def test_output_that_nobody_reads_ends_quietly(arguments: tuple[str, ...], close: bool) -> None:
    status, err = without_reader(*arguments, close=close)
    assert (status, err) == (0, b"")


@pytest.mark.parametrize("n_lines", [0, 1])
@pytest.mark.parametrize(
    "arguments",
    [
        ("violin", "--index", "{index}"),
        ("violin", "--index", "{index}", "--json"),
        ("violin", "--index", "{index}", "--m3u", "-"),
        ("violin xqzzyv", "--index", "{index}", "--top", "1000"),
        ("index", "info", "--index", "{index}"),
        ("index", "info", "--index", "{index}", "--json"),
        ("index", "verify", "--index", "{index}"),
        ("tag", "{library}/plain.flac", "--labels", "piano,rain", "--json"),
        ("tag", "{library}/plain.flac", "{library}/#hash.wav", "--labels", "piano"),
        ("models",),
        ("word-vectors", "info", "encoders/weights/default", "piano", "--top", "500"),
        ("index", "--help"),
        ("train", "--help"),
    ],
)
def test_a_reader_that_has_seen_enough_ends_every_command_quietly(
    arguments: tuple[str, ...],
    n_lines: int,
    library: Path,
    music_index: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours, theirs = os.pipe()
    with open(theirs, "w", encoding="utf-8", buffering=1) as stdout:
        monkeypatch.setattr(sys, "stdout", _Reader(stdout, ours, n_lines=n_lines))
        with pytest.raises(SystemExit) as end:
            main([part.format(index=music_index, library=library) for part in arguments])
        sys.stdout.flush()  # as the interpreter does when it exits
    assert end.value.code == 0
    assert "rror" not in capsys.readouterr().err


class _Reader:
    """A standard output whose reader goes away after some writes, as `head` does."""

    def __init__(self, stdout: Any, end: int, *, n_lines: int) -> None:
        self._stdout, self._end, self._left = stdout, end, n_lines

    def write(self, text: str) -> int:
        if self._left == 0:
            os.close(self._end)
        self._left -= 1
        return int(self._stdout.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)


def test_an_error_after_output_that_nobody_reads_ends_quietly(library: Path) -> None:
    files = [str(library / "plain.flac"), str(library / "a text.mp3")]
    status, err = without_reader("tag", *files, "--labels", "piano", "--json")
    assert (status, err) == (0, b"")


def test_an_error_is_shown_although_stdout_is_closed() -> None:
    status, err = without_reader("violin", "--index", "/none", close=True)
    assert status == 2
    assert one_line(err.decode(), start="error: no index at")


def test_a_fault_of_the_program_keeps_its_traceback(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import retrieval.cli.models as m\n"
        "import encoders.backbones.registry as r\n"
        "def fail(): raise KeyError('a fault')\n"
        "r.list_taggers = fail\n"
    )
    done = run("models", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "KeyError: 'a fault'" in done.stderr
