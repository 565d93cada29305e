"""The command `retrieve`: its commands and its entry point."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, ClassVar

import typer

from encoders.device import keep_freed_memory
from retrieval.cli.group import QueryFirstGroup

__all__ = ["app", "main"]


class _Retrieve(QueryFirstGroup):
    """The root group."""

    sources: ClassVar = {
        "search": "retrieval.cli.search:search",
        "index": "retrieval.cli.index:group",
        "tag": "retrieval.cli.tag:tag",
        "models": "retrieval.cli.models:models",
        "word-vectors": "retrieval.cli.word_vectors:group",
        "train": "retrieval.cli.train:train",
        "evaluate": "retrieval.cli.evaluate:evaluate",
    }


app = typer.Typer(
    cls=_Retrieve,
    pretty_exceptions_enable=False,  # a fault of the program prints its traceback
    context_settings={"help_option_names": ["--help", "-h"]},
    subcommand_metavar="QUERY | COMMAND [ARGS]...",
    epilog="The default index is RETRIEVE_INDEX, or a directory in the user's data folder.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"earmark {version('earmark')}")
        except PackageNotFoundError:
            typer.echo("earmark (not installed: run from its source tree)")
        raise typer.Exit


@app.callback()
def retrieve(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Search your music by words.

    Arguments that do not begin with a command are a query:

      retrieve "acoustic guitar"            the ten best tracks, and where in them
      retrieve --top 5 piano --not drums    options before or after the words
      retrieve search index                 a query that is also the name of a command
      retrieve index build ~/Music          build or update the index
      retrieve tag song.mp3                 tag a sound file
      retrieve models                       list the architectures and what they cost
      retrieve word-vectors train DIR       train word vectors on a folder of text
      retrieve train --data DIR --out DIR   train a model on tagged clips
      retrieve evaluate MODEL --data DIR    measure a model on tagged clips

    `retrieve search --help` lists the options of a query.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run a command line (default: the arguments of the process). Always raises SystemExit."""
    if sys.stdout is None:  # the caller closed it
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the life of the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a character gets its escape
            stream.reconfigure(errors="backslashreplace")
    keep_freed_memory()
    return app(arguments, prog_name="retrieve")
