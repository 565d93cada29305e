"""`retrieve words`: word vectors of one's own."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.group import CommandGroup
from retrieval.cli.output import print_table, print_warning, shown, shown_path
from retrieval.cli.progress import show_progress
from retrieval.label_file import read_label_file

if TYPE_CHECKING:
    from encoders.text.coverage import Coverage
    from encoders.text.word_vectors import WordVectors

__all__ = ["group"]

_IMPORTED_WORDS = 400_000
_LABELS_SHOWN = 10

group = typer.Typer(cls=CommandGroup, help="Word vectors: learn them from text, import them, look into them.")

OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file of words to write.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The result as one JSON object.")]


@group.command("train")
def train(
    text_dir: Annotated[Path, typer.Argument(metavar="TEXT_DIR", help="A folder of text.")],
    out: OutOption,
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="word2vec or fasttext.")] = "word2vec",
    dim: Annotated[int, typer.Option("--dim", min=1, max=2000, help="Length of a vector.")] = 128,
    window: Annotated[int, typer.Option("--window", min=1, help="How far apart neighbours stand, in words.")] = 12,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="How often the text is read.")] = 8,
    min_count: Annotated[int, typer.Option("--min-count", min=1, help="Rarer words are left out.")] = 5,
    buckets: Annotated[int, typer.Option("--buckets", min=1, help="Of subwords; fasttext only.")] = 100_000,
    phrases: Annotated[bool, typer.Option("--phrases", help="Learn word groups too, such as `double bass`.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all that is drawn.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads; more than one are not reproducible.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Learn word vectors from a folder of text.

    Examples:

      retrieve words train ~/texts --out my.words
      retrieve words train ~/texts --out my.words --kind fasttext --phrases

    Read are .txt files, a sentence a line, and the text columns of .csv files
    with a header, each also as .gz. FastText learns parts of words too, so
    that words which are not in the text can be searched for.
    """
    from encoders.text.corpus import read_sentences
    from encoders.text.train import TrainRecipe, train_words

    recipe = TrainRecipe(
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
    _check_out(out)
    with show_progress() as progress:
        sentences = read_sentences(text_dir, on_file=partial(progress.update, "reading files"))
        words = train_words(
            sentences, recipe, source=str(text_dir), on_epoch=partial(progress.update, "training epochs")
        )
    words.save(out)
    summary = {**_facts(words, out), "sentences": len(sentences), "seed": seed}
    told = [f"{len(sentences)} sentences", f"{len(words)} words of {words.dim} values ({kind})"]
    _print_summary(summary, told, out, as_json=as_json)


@group.command("import")
def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, or a name of gensim.downloader.")],
    out: OutOption,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Keep the first words only, the most frequent; 0: all.")
    ] = _IMPORTED_WORDS,
    as_json: JsonOption = False,
) -> None:
    """Import word vectors of another tool.

    Examples:

      retrieve words import glove.6B.100d.txt --out glove.words
      retrieve words import cc.en.300.bin.gz --out english.words
      retrieve words import glove-wiki-gigaword-100 --out glove.words

    Read are word2vec files (text, binary), GloVe's text, fastText's .bin (with
    its subwords) and .vec, each also as .gz. A name is fetched by
    gensim.downloader.
    """
    from encoders.text.importers import import_words

    _check_out(out)
    with show_progress() as progress:
        found = import_words(source, limit=limit or None, on_words=partial(progress.update, "reading words"))
    found.words.save(out)
    if found.n_repeated:
        print_warning(f"{shown(source)}: words that stand in it twice, {found.n_repeated}: the first vector is kept")
    counts = {
        "read": found.n_read,
        "left_out": found.n_left_out,
        "merged": found.n_merged,
        "repeated": found.n_repeated,
    }
    summary = {**_facts(found.words, out), "format": found.format, **counts}
    told = [f"{len(found.words)} words of {found.words.dim} values ({found.words.kind}), {found.n_read} read"]
    if found.n_left_out:
        told.append(f"{found.n_left_out} left out: punctuation, other scripts, groups of more than four words")
    if found.n_merged:
        told.append(f"{found.n_merged} left out: spelt like an earlier one")
    _print_summary(summary, told, out, as_json=as_json)


@group.command("info")
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of words, or a model's folder.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORD]...", help="Words to list neighbours of.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="Labels, one a line: how many are known.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many neighbours a word.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Say what a file of words holds, what it knows of labels, and what is near a word.

    Examples:

      retrieve words info my.words
      retrieve words info my.words "acoustic guitar" banjo --top 5
      retrieve words info my.words --labels labels.txt
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
        typer.echo(f"\nnear {shown(word)}" + ("" if vectors.split(word)[0] else "  (by its parts)"))
        print_table(["cosine", "word"], [[f"{c:.3f}", w] for w, c in found], right=frozenset({"cosine"}))


def _facts(words: WordVectors, path: Path) -> dict[str, Any]:
    n_buckets = 0 if words.subwords is None else len(words.subwords.scales)
    return {
        "file": str(path),
        "kind": words.kind,
        "source": words.source,
        "words": len(words),
        "dim": words.dim,
        "subword_buckets": n_buckets,
    }


def _print_summary(summary: dict[str, Any], told: list[str], out: Path, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary))
        return
    for line in told:
        typer.echo(line)
    typer.echo(f"words: {shown_path(str(out))}")


def _print_coverage(covered: Coverage) -> None:
    told = {
        "known": covered.known,
        "known in part": covered.partly,
        "by parts of words": covered.served,
        "unknown": covered.unknown,
    }
    typer.echo()
    rows = []
    for kind, found in told.items():
        some = ", ".join(found[:_LABELS_SHOWN]) + (" ..." if len(found) > _LABELS_SHOWN else "")
        rows.append([kind, str(len(found)), "" if kind == "known" else some])
    print_table(["labels", "count", "which"], rows, right=frozenset({"count"}))


def _check_out(out: Path) -> None:
    """Say before the work what would fail after it."""
    if out.is_dir():
        raise typer.BadParameter(f"{shown(str(out))} is a folder: give the file to write", param_hint="--out")
    if not out.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {shown(str(out.absolute().parent))}", param_hint="--out")
