"""Measure what a model reads: the size of its vocabulary, the words it knows, and whether requests move a query.

    python -m scripts.bench.vocabulary --text DIR [--audio DIR] [--model DIR] [--against DIR]

DIR of --text has `conceptcaps.csv.gz`, `english_wordnet.tsv.gz`, `musicbrainz_instruments.tsv` and `genres_tree.yaml`.
Known are the words that have a vector, function words aside. Phrases: 1,000 runs of two to four words between the
function words of ConceptCaps' captions, which no word vectors of the recipe were trained on; adjectives of WordNet; the
tree of genres; the instruments of MusicBrainz; with --audio, the moods of the pack `fourq_dev`. Requests: 200 sentences
of `data/request_sentences.csv`, each with its content words; counted are those with a cosine of 0.9 or more to the
content words alone, as phrase vectors and as text vectors. With --against, another model is measured beside it. The
last line of output is the result as JSON.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.text.tokenizer import Word, split_words
from encoders.text.tower import TextEncoder
from encoders.text.vocabulary import FUNCTION_WORDS
from scripts.recipes.default.vocabulary import genre_names, instrument_names, wordnet_lemmas

REQUESTS = Path(__file__).parent / "data" / "request_sentences.csv"
_N_PHRASES = 1000
_SAME_COSINE = 0.9
_LONGEST_RUN_WORDS = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    args = _arguments(arguments)
    phrases = phrase_sets(args.text, args.audio)
    requests = read_requests()
    models = {"model": args.model} | ({"against": args.against} if args.against else {})
    found = {name: measured(TextEncoder.load(folder), phrases, requests) for name, folder in models.items()}
    print(table(found), file=sys.stderr)
    print(json.dumps({"bench": "vocabulary", **found}))
    return 0


def phrase_sets(text_dir: Path, audio_dir: Path | None) -> dict[str, list[str]]:
    """Return the phrases of each set, sorted, each once."""
    with gzip.open(text_dir / "conceptcaps.csv.gz", "rt", encoding="utf-8", newline="") as file:
        runs = sorted({run for row in csv.DictReader(file) for run in word_runs(row["caption"])})
    drawn = np.random.default_rng(0).permutation(len(runs))[:_N_PHRASES]
    sets = {
        "caption phrases": sorted(runs[i] for i in drawn),
        "adjectives": sorted(set(wordnet_lemmas(text_dir, pos="as"))),
        "genres": sorted(set(genre_names(text_dir))),
        "instruments": sorted(set(instrument_names(text_dir))),
    }
    if audio_dir is not None:
        with (audio_dir / "fourq_dev" / "labels.csv").open(encoding="utf-8", newline="") as file:
            sets["moods"] = sorted({m for row in csv.DictReader(file) for m in row["moods"].split(";") if m})
    return sets


def word_runs(caption: str) -> Iterator[str]:
    """Yield the runs of two to four words that neither a function word nor punctuation breaks: "soft piano melody"."""
    run: list[str] = []
    for word in [*split_words(caption), Word("", ",")]:
        if (word.before == "," or word.text in FUNCTION_WORDS) and run:
            if 2 <= len(run) <= _LONGEST_RUN_WORDS:
                yield " ".join(run)
            run = []
        if word.text and word.text not in FUNCTION_WORDS:
            run.append(word.text)


def read_requests() -> list[tuple[str, str]]:
    """Return the sentences and their content words."""
    with REQUESTS.open(encoding="utf-8", newline="") as file:
        return [(row["sentence"], row["content"]) for row in csv.DictReader(file)]


def measured(
    encoder: TextEncoder, phrases: dict[str, list[str]], requests: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return the figures of a model."""
    found: dict[str, Any] = {"fingerprint": encoder.fingerprint, "entries": len(encoder.vocabulary) - 2}
    for name, of_set in phrases.items():
        found[name] = known_shares(encoder, of_set)
    usable = [pair for pair in requests if all(encoder.vocabulary.split(text)[0] for text in pair)]
    sentences, contents = ([pair[side] for pair in usable] for side in (0, 1))
    for name, encode in (("phrase vectors", encoder.phrase_vectors), ("text vectors", encoder.encode)):
        cosines = (encode(sentences) * encode(contents)).sum(axis=1)
        same = float((cosines >= _SAME_COSINE).sum() / len(requests))
        found[f"requests, {name}"] = {"share": round(same, 4), "median": round(float(np.median(cosines)), 4)}
    return found


def known_shares(encoder: TextEncoder, phrases: Sequence[str]) -> dict[str, Any]:
    """Return the share of words that are known, and of phrases of which every word is."""
    split = [encoder.vocabulary.split(phrase) for phrase in phrases]
    n_known, n_unknown = (sum(len(parts[side]) for parts in split) for side in (0, 1))
    return {
        "phrases": len(phrases),
        "words_known": round(n_known / max(1, n_known + n_unknown), 4),
        "phrases_known": round(sum(bool(known) and not unknown for known, unknown in split) / len(phrases), 4),
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| | " + " | ".join(found) + " |", "|---|" + "--:|" * len(found)]
    for name in (key for key in next(iter(found.values())) if key != "fingerprint"):
        cells = [
            " / ".join(str(x) for x in v.values()) if isinstance(v := of[name], dict) else str(v)
            for of in found.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, metavar="DIR", help="folder of the texts")
    parser.add_argument("--audio", type=Path, metavar="DIR", help="folder of packs, for the moods")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL_DIR, metavar="DIR", help="default: the shipped one")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another model, such as the last release")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
