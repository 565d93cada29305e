"""`retrieve word-vectors`: train, import and inspect word vectors."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from encoders.text.train import KINDS, WordVectorSettings
from retrieval.cli.group import CheckedCommand, CommandGroup
from retrieval.cli.options import check_output_file
from retrieval.cli.output import print_note, print_table, print_warning, shown, shown_path
from retrieval.cli.progress import show_progress
from retrieval.label_file import read_label_file

if TYPE_CHECKING:
    from encoders.text.coverage import Coverage
    from encoders.text.word_vectors import WordVectors

__all__ = ["group"]

_IMPORTED_WORDS = 400_000
_LABELS_SHOWN = 10
_DEFAULTS = WordVectorSettings()

group = typer.Typer(cls=CommandGroup, help="Train, import and inspect word vectors.")

OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="Word-vector file to write.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@group.command("train", cls=CheckedCommand)
def train(
    text_dir: Annotated[Path, typer.Argument(metavar="TEXT_DIR", help="Folder of text.")],
    out: OutOption,
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help=f"{' or '.join(KINDS)}.")] = _DEFAULTS.kind,
    dim: Annotated[int, typer.Option("--dim", min=1, max=2000, help="Length of a vector.")] = _DEFAULTS.dim,
    window: Annotated[
        int, typer.Option("--window", min=1, help="Context words on each side.")
    ] = _DEFAULTS.window_words,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the text.")] = _DEFAULTS.epochs,
    min_count: Annotated[
        int, typer.Option("--min-count", min=1, help="Ignore words that occur less often.")
    ] = _DEFAULTS.min_count,
    buckets: Annotated[
        int, typer.Option("--buckets", min=1, help="Hash buckets of subwords (fasttext only).")
    ] = _DEFAULTS.buckets,
    phrases: Annotated[
        bool, typer.Option("--phrases", help="Train vectors of frequent word groups too, such as `double bass`.")
    ] = _DEFAULTS.phrases,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = _DEFAULTS.seed,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Threads; with more than one the result is not reproducible.")
    ] = _DEFAULTS.workers,
    as_json: JsonOption = False,
) -> None:
    """Train word vectors on a folder of text.

    Examples:

      retrieve word-vectors train ~/texts --out my.vectors
      retrieve word-vectors train ~/texts --out my.vectors --kind fasttext --phrases

    The command reads .txt files with one sentence per line and the text columns
    of .csv files with a header, plain or as .gz. FastText also trains vectors of
    subwords, which serve words that the text does not contain.
    """
    from encoders.text.corpus import read_sentences
    from encoders.text.train import train_word_vectors

    settings = WordVectorSettings(
        kind=kind,
        dim=dim,
        window_words=window,
        epochs=epochs,
        min_count=min_count,
        buckets=buckets,
        phrases=phrases,
        seed=seed,
        workers=workers,
    )
    check_output_file(out, option="--out")
    with show_progress() as progress:
        sentences = read_sentences(text_dir, on_file=partial(progress.update, "reading files"))
        on_epoch = partial(progress.update, "training epochs")
        word_vectors = train_word_vectors(sentences, settings, source=str(text_dir), on_epoch=on_epoch)
    word_vectors.save(out)
    summary = {**_facts(word_vectors, out), "sentences": len(sentences), "seed": seed}
    lines = [f"{len(sentences)} sentences", f"{len(word_vectors)} words of {word_vectors.dim} values ({kind})"]
    _print_summary(summary, lines, out, as_json=as_json)


@group.command("import", cls=CheckedCommand)
def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File, or a name known to gensim.downloader.")],
    out: OutOption,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Import the first words only, the most frequent; 0: all.")
    ] = _IMPORTED_WORDS,
    as_json: JsonOption = False,
) -> None:
    """Import word vectors that another tool has trained.

    Examples:

      retrieve word-vectors import glove.6B.100d.txt --out glove.vectors
      retrieve word-vectors import cc.en.300.bin.gz --out english.vectors
      retrieve word-vectors import glove-wiki-gigaword-100 --out glove.vectors

    Supported are word2vec files (text, binary), GloVe text, fastText .bin (with
    its subwords) and .vec, plain or as .gz. gensim.downloader fetches a name.
    """
    from encoders.text.importers import import_word_vectors

    check_output_file(out, option="--out")
    with show_progress() as progress:
        on_words = partial(progress.update, "reading words")
        imported = import_word_vectors(source, limit=limit or None, on_words=on_words)
    word_vectors = imported.word_vectors
    word_vectors.save(out)
    for note in imported.notes:
        print_note(f"{shown(source)}: {note}")
    if imported.n_repeated:
        print_warning(f"{shown(source)} repeats {imported.n_repeated} words: their first vectors are kept")
    counts = {
        "read": imported.n_read,
        "left_out": imported.n_left_out,
        "merged": imported.n_merged,
        "repeated": imported.n_repeated,
    }
    summary = {**_facts(word_vectors, out), "format": imported.format, **counts}
    lines = [f"{len(word_vectors)} words of {word_vectors.dim} values ({word_vectors.kind}), {imported.n_read} read"]
    if imported.n_left_out:
        lines.append(f"{imported.n_left_out} left out: punctuation, other languages, groups of more than four words")
    if imported.n_merged:
        lines.append(f"{imported.n_merged} left out: same spelling as an earlier word")
    _print_summary(summary, lines, out, as_json=as_json)


@group.command("info", cls=CheckedCommand)
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Word-vector file, or model directory.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORD]...", help="Words to list neighbours of.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="Labels, one per line: count the known ones.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Neighbours per word.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show the contents of a word-vector file, the labels it covers and the neighbours of words.

    Examples:

      retrieve word-vectors info my.vectors
      retrieve word-vectors info my.vectors "acoustic guitar" banjo --top 5
      retrieve word-vectors info my.vectors --labels labels.txt
    """
    from encoders.text.coverage import coverage, nearest
    from encoders.text.word_vectors import WordVectors

    vectors = WordVectors.load(file)
    facts: dict[str, Any] = _facts(vectors, file)
    covered = None if labels is None else coverage(vectors, read_label_file(labels))
    near = {word: nearest(vectors, word, count=top) for word in words or []}
    if as_json:
        if covered is not None:
            facts["labels"] = {kind: list(found) for kind, found in vars(covered).items()}
        listed = {word: [{"word": w, "cosine": round(c, 6)} for w, c in found] for word, found in near.items()}
        typer.echo(json.dumps({**facts, "neighbours": listed} if words else facts))
        return
    print_table(["what", "value"], [[name.replace("_", " "), str(value)] for name, value in facts.items()])
    if covered is not None:
        _print_coverage(covered)
    for word, found in near.items():
        typer.echo(f"\nneighbours of {shown(word)}" + ("" if vectors.split(word)[0] else " (from subwords)"))
        print_table(["cosine", "word"], [[f"{c:.3f}", w] for w, c in found], right=frozenset({"cosine"}))


def _facts(word_vectors: WordVectors, path: Path) -> dict[str, Any]:
    n_buckets = 0 if word_vectors.subwords is None else len(word_vectors.subwords.scales)
    return {
        "file": str(path),
        "kind": word_vectors.kind,
        "source": word_vectors.source,
        "words": len(word_vectors),
        "dim": word_vectors.dim,
        "subword_buckets": n_buckets,
    }


def _print_summary(summary: dict[str, Any], lines: list[str], out: Path, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary))
        return
    for line in lines:
        typer.echo(line)
    typer.echo(f"word vectors: {shown_path(str(out))}")


def _print_coverage(covered: Coverage) -> None:
    kinds = {
        "known": covered.known,
        "partly known": covered.partly,
        "from subwords": covered.subwords,
        "unknown": covered.unknown,
    }
    typer.echo()
    rows = []
    for kind, found in kinds.items():
        some = ", ".join(found[:_LABELS_SHOWN]) + (" ..." if len(found) > _LABELS_SHOWN else "")
        rows.append([kind, str(len(found)), "" if kind == "known" else some])
    print_table(["labels", "count", "which"], rows, right=frozenset({"count"}))
