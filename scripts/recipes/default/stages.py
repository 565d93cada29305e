"""The default model from data to finished directory: words, clips, teachers, two stages of training, calibration.

Every stage writes its result below the output folder and is skipped when it is there: a run that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from encoders.text.tokenizer import tokenize
from encoders.text.train import WordVectorSettings, train_word_vectors
from encoders.text.vocabulary import Vocabulary
from encoders.text.word_vectors import WordVectors
from encoders.two_tower import TwoTowerConfig, TwoTowerModel
from scripts.recipes.default.calibrate import calibrate
from scripts.recipes.default.collection import Collection, make_collection
from scripts.recipes.default.conse import Teaching, class_weights
from scripts.recipes.default.corpus import Corpus, read_corpus, training_sentences
from scripts.recipes.default.feature_inversion import imagine
from scripts.recipes.default.features import chunk_features
from scripts.recipes.default.held_out import held_out_figures
from scripts.recipes.default.label_leakage import check_resumed, withhold
from scripts.recipes.default.phrase_sampling import PhraseBook, make_phrase_book
from scripts.recipes.default.prepare import load_shards, prepare_packs, prepare_rendered
from scripts.recipes.default.spectral_init import composed_space, fit_text_tower, start_projection
from scripts.recipes.default.student import Lessons, Recipe, Student
from scripts.recipes.default.teachers import load_audioset_teacher, load_music_teachers

__all__ = ["WORD_VECTORS_FILE", "DefaultRun", "train_default"]

WORD_VECTORS_FILE = "word_vectors.safetensors"

_NO_TAGS = frozenset(("00s", "60s", "70s", "80s", "90s", "sound effect", "inside", "outside", "computer", "weird"))


@dataclass(frozen=True)
class DefaultRun:
    """One run: where its data lie, where it writes, and its recipe.

    ``held_out`` is a fraction of clips, ``leave_out`` names packs, ``hold_out`` names labels that the recipe must not
    learn, nor what gives them away; see ``withheld_labels``.
    """

    data_dir: Path
    weights_dir: Path
    out_dir: Path
    soundfonts: list[Path]
    rendered_clips: int = 3000
    held_out: float = 0.08
    leave_out: tuple[str, ...] = ()
    hold_out: tuple[str, ...] = ()
    device: str = "cpu"
    word_vectors: WordVectorSettings = field(default_factory=lambda: WordVectorSettings(min_count=6))
    recipe: Recipe = field(default_factory=Recipe)


def _word_vectors(run: DefaultRun, corpus: Corpus) -> WordVectors:
    path = run.out_dir / WORD_VECTORS_FILE
    if not path.is_file():
        settings = replace(run.word_vectors, seed=run.recipe.seed)
        train_word_vectors(training_sentences(corpus), settings, source=str(run.data_dir / "text")).save(path)
    return WordVectors.load(path)


def _short_name(class_name: str) -> str:
    return class_name.split(",")[0].split("(")[0].strip().lower()


def _tag_names(names: list[str], vocabulary: Vocabulary) -> list[str]:
    """Return the tags offered when a user gives none: one for each set of known words."""
    tags: dict[tuple[str, ...], str] = {}
    for name in names:
        known, unknown = vocabulary.split(name)
        if known and not unknown and name not in _NO_TAGS:
            tags.setdefault(tuple(sorted(known)), name)
    return sorted(tags.values())


def _prepare(run: DefaultRun, log: Callable[[dict[str, Any]], None]) -> tuple[list[str], Collection]:
    """Make the shards that are missing; return the names of the music teachers' tags and the collection."""
    teacher = load_audioset_teacher(run.weights_dir)
    music_teachers = load_music_teachers(run.weights_dir)
    tags = [tag for music in music_teachers for tag in music.tags]
    cache = run.out_dir / "cache"
    cache.mkdir(parents=True, exist_ok=True)

    def on_shard(name: str) -> None:
        log({"stage": "prepare", "shard": name})

    prepare_packs(run.data_dir / "audio", cache, teacher=teacher, music_teachers=music_teachers, on_shard=on_shard)
    prepare_rendered(
        run.soundfonts,
        cache,
        count=run.rendered_clips,
        seed=run.recipe.seed,
        teacher=teacher,
        n_music=len(tags),
        on_shard=on_shard,
    )
    return tags, make_collection(load_shards(cache), held_out=run.held_out, leave_out=run.leave_out)


def _new_model(run: DefaultRun, word_vectors: WordVectors, tag_names: list[str]) -> TwoTowerModel:
    """Return the towers before training: published backbone, first projection layer and word vectors."""
    torch.manual_seed(run.recipe.seed)
    config = TwoTowerConfig(vocab_size=len(word_vectors.vocabulary), word_dim=word_vectors.dim, tag_names=tag_names)
    model = TwoTowerModel(config)
    model.vocabulary = word_vectors.vocabulary
    model.words.codes.copy_(torch.from_numpy(word_vectors.codes))
    model.words.scales.copy_(torch.from_numpy(word_vectors.scales))
    model.words.weights.copy_(torch.from_numpy(word_vectors.weights))
    model.audio_tower.backbone.load_state_dict(load_audioset_teacher(run.weights_dir).backbone.state_dict())
    return model


def _compose(student: Student, head: nn.Sequential, log: Callable[[dict[str, Any]], None]) -> None:
    """Put the student where the composed AudioSet teacher stands."""
    collection, teaching, book, recipe = student.collection, student.teaching, student.book, student.recipe
    n = head[3].out_features
    classes = teaching.class_vectors[:n]
    space = composed_space(
        student.background_z(6000)[:, :n], class_weights(book.vectors, classes), book.share, rank=recipe.composed_dims
    )
    projection = student.model.audio_tower.projection
    start_projection(projection, head, space, collection.class_mean[:n], collection.class_spread[:n])
    fit_text_tower(student.model, space, book, classes, steps=recipe.text_steps, seed=recipe.seed, on_step=log)


def train_default(run: DefaultRun, *, log: Callable[[dict[str, Any]], None]) -> Path:
    """Train, or go on training, and return the finished model directory ``out_dir/model``.

    Raises:
        ValueError: a label to hold out that the recipe does not know, or weights in the folder of another recipe.
    """
    run.out_dir.mkdir(parents=True, exist_ok=True)
    check_resumed(run.out_dir, run.hold_out)
    corpus = read_corpus(run.data_dir / "text", seed=run.recipe.seed)
    word_vectors = _word_vectors(run, corpus)
    vocabulary = word_vectors.vocabulary
    log({"stage": "words", "vocabulary": len(vocabulary)})
    music_tags, collection = _prepare(run, log)
    withheld = withhold(run.hold_out, collection, [*corpus.class_names, *music_tags], word_vectors)
    collection, class_names = withheld.collection, withheld.class_names
    # Names with commas or brackets are groups of the vocabulary, which a query would not join across punctuation.
    joined_names = [" ".join(tokenize(name)) for name in class_names]
    teaching = Teaching(collection.z, word_vectors.encode(joined_names))
    labels = sorted({label for clip in collection.labels for label in clip if vocabulary.split(label)[0]})
    short_names = [_short_name(name) for name in class_names]
    book: PhraseBook = make_phrase_book(
        corpus, word_vectors, names=[*joined_names, *short_names], extra=labels, keep=withheld.keep
    )
    label_vectors = dict(zip(labels, word_vectors.encode(labels), strict=True))
    model = _new_model(run, word_vectors, _tag_names([*short_names, *labels], vocabulary))
    classifier = load_audioset_teacher(run.weights_dir).head
    assert isinstance(classifier, nn.Sequential)
    head = withheld.head(classifier)
    published = chunk_features(model, collection)
    imagined = imagine(head, np.concatenate(published), per_class=run.recipe.imagined_per_class, seed=run.recipe.seed)
    log({"stage": "imagined", "sounds": len(imagined.features)})
    music_vectors = word_vectors.encode(sorted(set(class_names[imagined.logits.shape[1] :])))
    lessons = Lessons(collection, teaching, imagined, book, label_vectors, music_vectors, head)
    student = Student(model, lessons, run.recipe, device=run.device)
    heads = run.out_dir / "heads.pt"
    if heads.is_file():
        model.load_state_dict(torch.load(heads, map_location=run.device, weights_only=True))
    else:
        _compose(student, head, log)
        student.fit_heads(published, on_step=log)
        log({"stage": "heads", "held_out": held_out_figures(model, collection, published)})
        torch.save(model.state_dict(), heads)
    student.fit(run.out_dir, on_step=log)
    features = chunk_features(model, collection)
    held_out = held_out_figures(model, collection, features)
    log({"stage": "towers", "held_out": held_out})
    figures = calibrate(model, collection, imagined, seed=run.recipe.seed, features=features)
    log({"stage": "calibration", **figures})
    folder = run.out_dir / "model"
    model.cpu().save_pretrained(folder)
    notes = {"recipe": asdict(run.recipe), "word_vectors": asdict(run.word_vectors), "calibration": figures}
    notes["held_out"] = held_out
    if run.hold_out:
        notes["withheld"] = withheld.record()
    (folder / "training.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
    return folder
