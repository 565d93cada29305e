"""Groups and commands of the command line: the default command, checks of values, errors as one line.

`retrieve "acoustic guitar"` names no command. `QueryFirstGroup` inserts `search` into every command line that does not
begin with a command or an option of `retrieve` itself.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from retrieval.cli.errors import expected_message, usage_message
from retrieval.cli.output import print_error

__all__ = ["CheckedCommand", "CommandGroup", "QueryFirstGroup"]

_EXIT_EXPECTED_ERROR = 2
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells
_OWN_OPTIONS = frozenset({"--help", "-h", "--version", "--install-completion", "--show-completion"})


class CheckedCommand(TyperCommand):
    """A command that refuses numbers that are not finite, and empty values of options and paths.

    An empty path would be the working directory; NaN passes every check of a range; no file name has a NUL character.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # the shell asks for completions
            return super().parse_args(ctx, args)
        texts, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        params: list[Any] = list(self.params)
        for param in params:
            values = _as_list(ctx.params.get(str(param.name)))
            no_empty = param.param_type_name == "option" or any(isinstance(value, Path) for value in values)
            if no_empty and "" in _as_list(texts.get(str(param.name))):
                raise typer.BadParameter("the value is empty", ctx=ctx, param=param)
            for value in values:
                if "\0" in (str(value) if isinstance(value, (str, Path)) else "") and no_empty:
                    raise typer.BadParameter("the value has a NUL character", ctx=ctx, param=param)
                if isinstance(value, float) and not math.isfinite(value):
                    raise typer.BadParameter(f"{value} is not a finite number", ctx=ctx, param=param)
        return rest


class CommandGroup(TyperGroup):
    """A group that prints its help and succeeds if nothing follows its name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        return super().parse_args(ctx, args)


class _CommandsOnDemand(Mapping[str, Any]):
    """Commands by name, each imported and built when it is first looked up: a query waits for `search` alone."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            module, _, attribute = self._sources[name].partition(":")
            target = getattr(import_module(module), attribute)
            if not isinstance(target, typer.Typer):
                function, target = target, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
                target.command(name, cls=CheckedCommand)(function)
            self._built[name] = typer.main.get_command(target)
            self._built[name].name = name
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


class QueryFirstGroup(CommandGroup):
    """The root group: `search` is the default command, and expected errors end as one line and an exit status.

    Attributes:
        sources: for each command, where its function or `typer.Typer` is, as "module:name".
    """

    sources: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        commands: Any = _CommandsOnDemand(self.sources)
        self.commands = commands

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in _OWN_OPTIONS:
            args = ["search", *args]
        with _reader_may_go():  # --help and --version are printed here
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _reader_may_go():
            return self._invoke(ctx)

    def _invoke(self, ctx: Any) -> Any:
        try:
            value = super().invoke(ctx)
            sys.stdout.flush()  # here, where a closed pipe can still be handled
            return value
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            print_error("interrupted", label="")
            raise typer.Exit(_EXIT_INTERRUPTED) from None
        except Exception as error:
            message = usage_message(error) or expected_message(error)
            if message is None:
                raise
            print_error(message)
            raise typer.Exit(_EXIT_EXPECTED_ERROR) from error


@contextmanager
def _reader_may_go() -> Iterator[None]:
    """End with status 0 where the reader of stdout has gone, as in `| head`: it has what it wants."""
    try:
        yield
    except BrokenPipeError:
        _discard_stdout()
        raise typer.Exit(0) from None
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich, which prints help, exits with status 1
            raise typer.Exit(0) from None
        raise


def _discard_stdout() -> None:
    """Send what is still buffered to the null device, or the interpreter would complain when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
