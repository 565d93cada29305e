"""How the command line is led: the query as default command, and errors as one line.

`retrieve "acoustic guitar"` has no command's name in it. :class:`QueryFirstGroup` puts `search` before every
command line that does not begin with a known command or one of the few options of `retrieve` itself.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from retrieval.cli.output import print_error

__all__ = ["CommandGroup", "QueryFirstGroup"]

_EXIT_EXPECTED_ERROR = 2
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_OWN_OPTIONS = frozenset({"--help", "-h", "--version", "--install-completion", "--show-completion"})


class CommandGroup(TyperGroup):
    """A group that shows its help, and succeeds, when nothing follows its name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:  # resilient: the shell asks for completions
            args = ["--help"]
        return super().parse_args(ctx, args)


class QueryFirstGroup(CommandGroup):
    """The root: a query is its default command; expected errors end as one line and an exit status."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in _OWN_OPTIONS:
            args = ["search", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            value = super().invoke(ctx)
            sys.stdout.flush()  # here, where a closed pipe can still be met in silence
            return value
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            print_error("interrupted", label="")
            raise typer.Exit(_EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            _abandon_stdout()
            raise typer.Exit(0) from None
        except Exception as error:
            message = _usage_message(error) or _expected_message(error)
            if message is None:
                raise
            print_error(message)
            raise typer.Exit(_EXIT_EXPECTED_ERROR) from error


def _abandon_stdout() -> None:
    """The reader has gone (`| head`): let the interpreter's last flush go nowhere rather than complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _usage_message(error: Exception) -> str | None:
    """The line for a command line that does not parse; None for any other error."""
    command = getattr(error, "ctx", None)
    if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
        return None
    message = str(error.format_message()).rstrip(".")
    return f"{message}; see {command.command_path} --help" if command is not None else message


def _expected_message(error: Exception) -> str | None:
    """The line for an error whose cause lies outside the program; None for a fault of the program."""
    import sqlite3

    from encoders.audio import AudioDecodeError
    from encoders.checkpoint import ModelDirError
    from encoders.device import DeviceError
    from encoders.text.tower import UnknownWordsError
    from encoders.text.word_vectors import WordVectorsError
    from index import IndexBusyError, IndexDamagedError, IndexMismatchError, IndexMissingError
    from retrieval.datasets.base import DatasetError
    from retrieval.indexing.types import IngestError
    from retrieval.label_file import LabelFileError
    from retrieval.query import QueryError
    from retrieval.tagging import LabelError, PublishedModelError

    of_models = (ModelDirError, PublishedModelError, DeviceError, UnknownWordsError, LabelError, QueryError)
    of_data = (AudioDecodeError, DatasetError, IngestError, LabelFileError, WordVectorsError)
    of_indexes = (IndexBusyError, IndexDamagedError, IndexMismatchError, IndexMissingError)
    # Its module needs transformers: an error of it has loaded it already.
    learning = sys.modules.get("retrieval.training.run_settings")
    if learning is not None and isinstance(error, learning.CheckpointError):
        return str(error)
    if isinstance(error, (*of_models, *of_indexes, *of_data)):
        return str(error)
    if isinstance(error, ImportError) and error.name == "faiss":
        return str(error)
    if isinstance(error, OSError):
        return _os_message(error)
    if isinstance(error, sqlite3.Error):
        return f"the index's catalogue: {error}"
    return None


def _os_message(error: OSError) -> str:
    if error.strerror is None:
        return str(error)
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return ": ".join([*named, error.strerror])
