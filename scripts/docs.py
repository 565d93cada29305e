"""Run the commands that the READMEs show, and compare or rewrite the outputs printed below them.

    python -m scripts.docs            compare; exit status 1 where an output differs
    python -m scripts.docs --write    put the current outputs into the READMEs

A block fenced as `console` holds commands after `$ `, each followed by its output, or by nothing where only the exit
status counts. A block fenced as `python` is run as a script. Both run in a scratch folder that holds a copy of the
demo library, a data set made of it (`clips/`), some text (`texts/`) and, as a home folder, `~/Music`. A block fenced
as `sh` needs data that is not part of the project: the options of its commands are looked up in their `--help`. The
block under `## Files` lists a package's files, each with the first line of its docstring.
"""

from __future__ import annotations

import argparse
import ast
import csv
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "DOCUMENTS",
    "NOT_RUN",
    "Block",
    "Sandbox",
    "blocks_of",
    "check",
    "commands_of",
    "differences",
    "unknown_options",
]

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "encoders/README.md",
    "encoders/weights/default/MODEL_CARD.md",
    "index/README.md",
    "retrieval/README.md",
    "scripts/README.md",
    "scripts/experiments/README.md",
    "scripts/recipes/default/README.md",
)
NOT_RUN = {
    "./scripts/demo": "its two commands are shown and run below it",
    "./scripts/test": "it would run this check again",
    "./scripts/check": "it runs beside the tests",
    "pip install": "it would change the environment",
}
# What differs from run to run: durations, speeds, sizes that depend on the machine.
_VARIES = re.compile(r"\d[\d.,:]*(?= (?:s|ms|MB|MiB|GB|KB|x real time)\b)")
_FLOAT = re.compile(r"(?<![\w.])[-−]?\d+\.\d+(?![\w.])")
_FENCE = re.compile(r"^```(console|python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TOLERANCE = 0.0101  # outputs are held to two decimals: other processors round differently
_TIMEOUT_S = 300
_SHOWN_FOLDER = "/home/you/earmark"
_MAP = re.compile(r"(?<=^## Files\n\n```text\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and where the text lies in the document."""

    language: str
    text: str
    start: int
    end: int


class Sandbox:
    """A scratch folder in which the documented commands find what they name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        library = folder / "scripts" / "demo_library"
        shutil.copytree(ROOT / "scripts" / "demo_library", library)
        shutil.copytree(library, folder / "home" / "Music")
        (folder / "encoders" / "weights").mkdir(parents=True)
        shutil.copytree(ROOT / "encoders" / "weights" / "default", folder / "encoders" / "weights" / "default")
        shutil.copyfile(library / "01 evening walk.ogg", folder / "song.ogg")
        _write_clips(library, folder / "clips")
        _write_texts(library, folder / "texts")
        (folder / "bin").mkdir()
        command = folder / "bin" / "retrieve"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m retrieval "$@"\n', encoding="utf-8")
        command.chmod(0o755)
        python = folder / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RETRIEVE", "XDG_"))},
            "HOME": str(folder / "home"),
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RETRIEVE_INDEX": ".demo-index",
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def run(self, command: str) -> str:
        """Return what a command prints to standard output.

        Raises:
            RuntimeError: it fails; the message holds the end of what it printed.
        """
        words = [os.path.expanduser(word) if word.startswith("~") else word for word in shlex.split(command)]
        home = self.environment["HOME"]
        words = [word.replace(os.path.expanduser("~"), home, 1) if word.startswith("/") else word for word in words]
        return self._run(words, command)

    def run_python(self, code: str) -> str:
        """Return what a script prints; raises RuntimeError where it fails."""
        script = self.folder / "example.py"
        script.write_text(code, encoding="utf-8")
        return self._run(["python", str(script)], code)

    def _run(self, words: list[str], shown: str) -> str:
        done = subprocess.run(
            [shutil.which(words[0], path=self.environment["PATH"]) or words[0], *words[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{shown}\nexit status {done.returncode}\n{done.stdout[-800:]}{done.stderr[-2000:]}")
        return "\n".join(line.rstrip() for line in done.stdout.replace(str(self.folder), _SHOWN_FOLDER).splitlines())


def _write_clips(library: Path, folder: Path) -> None:
    """Write the demo library as a labelled data set: the instruments of CREDITS.md, two thirds of it for training."""
    folder.mkdir()
    rows = re.findall(r"^\| (\d\d [^|]+?) \| [^|]+ \| ([^|]+?) \|$", (library / "CREDITS.md").read_text("utf-8"), re.M)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "labels", "split"])
        for number, (name, instruments) in enumerate(rows):
            shutil.copyfile(library / f"{name}.ogg", folder / f"{name}.ogg")
            split = "test" if number % 3 == 2 else "val" if number % 6 == 4 else "train"
            table.writerow([f"{name}.ogg", instruments.replace(", ", ";"), split])


def _write_texts(library: Path, folder: Path) -> None:
    """Write a little text about music, from which word vectors can be trained."""
    folder.mkdir()
    rows = re.findall(
        r"^\| \d\d ([^|]+?) \| ([^|]+?) \| ([^|]+?) \|$", (library / "CREDITS.md").read_text("utf-8"), re.M
    )
    lines = [f"{title} is a {genre} piece for {instruments}." for title, genre, instruments in rows]
    (folder / "pieces.txt").write_text("\n".join(lines * 20) + "\n", encoding="utf-8")


def blocks_of(text: str) -> list[Block]:
    """Return the checked blocks of a Markdown document."""
    return [Block(match[1], match[2], match.start(2), match.end(2)) for match in _FENCE.finditer(text)]


def commands_of(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a `console` block, each with the output printed below it.

    Raises:
        ValueError: the block does not start with a command.
    """
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    if parts[0]:
        raise ValueError(f"a console block starts with `$ `: {block.text[:60]!r}")
    found = []
    for part in parts[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = f"{command[:-1].rstrip()} {more.strip()}"
        found.append((command, output.rstrip("\n")))
    return found


def differences(shown: str, printed: str) -> list[str]:
    """Return the lines in which an output differs from the one shown, floats compared to two decimals.

    Durations, speeds and sizes may differ.
    """
    old, new = shown.splitlines(), printed.splitlines()
    found = [f"shown:   {a}\nprinted: {b}" for a, b in zip(old, new, strict=False) if not _alike(a, b)]
    if len(old) != len(new):
        found.append(f"{len(old)} lines are shown, {len(new)} printed")
    return found


def _alike(shown: str, printed: str) -> bool:
    shown, printed = (" ".join(_VARIES.sub("#", line).split()) for line in (shown, printed))
    if _FLOAT.sub("#", shown) != _FLOAT.sub("#", printed):
        return False
    pairs = zip(_FLOAT.findall(shown), _FLOAT.findall(printed), strict=True)
    return all(abs(float(a.replace("−", "-")) - float(b.replace("−", "-"))) <= _TOLERANCE for a, b in pairs)


def file_map(package: str) -> str:
    """Return one line a file or folder of a package: its path in the package and the first line of its docstring.

    Raises:
        ValueError: a module has no docstring.
    """
    folder = ROOT / package
    named = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".py":
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            if docstring is None:
                raise ValueError(f"{package}/{name} has no docstring: the file map shows its first line")
            named[name.removesuffix("__init__.py") or "./"] = docstring.splitlines()[0].removesuffix(".")
        elif path.is_file() and not path.suffix and "/" not in name:
            named[name] = (
                path.read_text(encoding="utf-8").splitlines()[1].removeprefix("# ").split(". ")[0].removesuffix(".")
            )
    width = max(map(len, named))
    return "".join(f"{name:<{width}}  {line}\n" for name, line in named.items())


def with_file_map(document: str, text: str) -> str:
    """Return a README's text with the block under `## Files` brought up to date; as it is without one."""
    package = document.rpartition("/")[0]
    return _MAP.sub(lambda _: file_map(package), text)


def check(document: str, folder: Path, *, write: bool = False) -> list[str]:
    """Run a document's blocks in order, and return what is wrong with them.

    Args:
        document: its path, relative to the repository.
        folder: an empty folder for the sandbox.
        write: replace the outputs shown by those printed.
    """
    path = ROOT / document
    shown = path.read_text(encoding="utf-8")
    text = with_file_map(document, shown)
    wrong = [] if text == shown else ["the block under `## Files` does not match the tree"]
    sandbox = Sandbox(folder)
    rewritten, at = "", 0
    for block in blocks_of(text):
        new = block.text
        try:
            if block.language == "console":
                new, found = _console(block, sandbox)
                wrong += found
            elif block.language == "python":
                sandbox.run_python(block.text)
            else:
                wrong += [problem for line in _sh_lines(block.text) for problem in unknown_options(line)]
        except RuntimeError as error:
            wrong.append(str(error))
        rewritten += text[at : block.start] + new
        at = block.end
    if write and rewritten + text[at:] != shown:
        path.write_text(rewritten + text[at:], encoding="utf-8")
    return wrong


def _console(block: Block, sandbox: Sandbox) -> tuple[str, list[str]]:
    new, wrong = "", []
    for command, shown in commands_of(block):
        new += f"$ {command}\n"
        if any(command.startswith(start) for start in NOT_RUN):
            new += f"{shown}\n" if shown else ""
            continue
        printed = sandbox.run(command)
        if shown:
            wrong += [f"$ {command}\n{difference}" for difference in differences(shown, printed)]
            new += f"{printed}\n"
    return new, wrong


def _sh_lines(text: str) -> Iterator[str]:
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        command = line.split("  #")[0].strip()
        if command and not command.startswith("#"):
            yield command


@functools.cache
def _script_help(module: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    return done.stdout if done.returncode == 0 else ""


def _retrieve_options(words: list[str]) -> set[str]:
    """Return the options of the subcommand that the words after `retrieve` begin with; of a query without one."""
    import typer

    from retrieval.cli.app import app

    command: Any = typer.main.get_command(app)
    if words[0] not in command.commands:
        words = ["search", *words]
    for word in words:
        subcommands = getattr(command, "commands", {})
        if word not in subcommands:
            break
        command = subcommands[word]
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def unknown_options(command: str) -> list[str]:
    """Return what does not exist of a command: its module, or some of its options."""
    if any(command.startswith(start) for start in NOT_RUN):
        return []
    words = shlex.split(command)
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    if words[0] == "retrieve":
        known = _retrieve_options(words[1:])
    elif words[:2] == ["python", "-m"]:
        text = _script_help(words[2])
        if not text:
            return [f"{command}: no module {words[2]} that answers --help"]
        known = set(re.findall(r"(?<![\w-])--[\w-]+", text))
    else:
        return [f"{command}: neither `retrieve` nor `python -m`"]
    return [f"{command}: no option {option}" for option in options if option not in known]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="*", default=list(DOCUMENTS), help="READMEs (default: all)")
    parser.add_argument("--write", action="store_true", help="put the current outputs into the READMEs")
    options = parser.parse_args()
    wrong = {}
    for document in options.documents:
        with tempfile.TemporaryDirectory() as folder:
            wrong[document] = check(document, Path(folder) / "sandbox", write=options.write)
        for problem in wrong[document]:
            print(f"{document}: {problem}\n", file=sys.stderr)
    print(json.dumps({"documents": len(wrong), "differences": sum(map(len, wrong.values())), "written": options.write}))
    return int(not options.write and any(wrong.values()))


if __name__ == "__main__":
    sys.exit(main())
