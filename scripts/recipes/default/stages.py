"""The stages of the default model, from data to a model directory.

Word vectors, training data (`data`), synthetic features (`feature_inversion`), initialisation (`spectral_init`), two
stages of training (`student`), calibration. Each stage writes its result to the output folder and is skipped when the
result is there, so that an interrupted run can be resumed by the same command.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from encoders.text.tokenizer import tokenize
from encoders.text.train import train_word_vectors
from encoders.text.vocabulary import Vocabulary
from encoders.text.word_vectors import WordVectors
from encoders.two_tower import TwoTowerConfig, TwoTowerModel
from retrieval.evaluation.protocol import evaluate
from scripts.recipes.default.calibrate import calibrate, clip_vectors
from scripts.recipes.default.conse import TeacherTargets, class_weights
from scripts.recipes.default.corpus import Corpus, read_corpus, training_sentences
from scripts.recipes.default.data import (
    Collection,
    load_shards,
    make_collection,
    write_recorded_shards,
    write_rendered_shards,
)
from scripts.recipes.default.exclusion import check_resumed, exclude_labels
from scripts.recipes.default.feature_inversion import invert_features
from scripts.recipes.default.features import chunk_features
from scripts.recipes.default.phrase_sampling import make_phrase_book
from scripts.recipes.default.settings import WORD_VECTORS_FILE, DefaultRun
from scripts.recipes.default.spectral_init import fit_text_tower, init_projection, low_rank_space
from scripts.recipes.default.student import Student, TrainingData, on_cpu
from scripts.recipes.default.teachers import load_audioset_teacher, load_music_teachers

__all__ = ["held_out_metrics", "initialise", "train_default"]

Log = Callable[[dict[str, Any]], None]

_MIN_POSITIVES = 3
# Classes and labels that are not offered as tags: they name no sound, or too many.
_NO_TAGS = frozenset(("00s", "60s", "70s", "80s", "90s", "sound effect", "inside", "outside", "computer", "weird"))


def train_default(run: DefaultRun, *, log: Log) -> Path:
    """Train the model, or resume training, and return the model directory `out_dir/model`.

    Args:
        run: the settings.
        log: called with a record of each stage and, now and then, of a step.

    Raises:
        ValueError: a label to hold out is unknown, or the folder has weights of another recipe.
        DatasetError: a pack is missing or its table cannot be read.
        FileNotFoundError: a text, a checkpoint or a soundfont is missing.
    """
    run.out_dir.mkdir(parents=True, exist_ok=True)
    check_resumed(run.out_dir, run.held_out_labels)
    corpus = read_corpus(run.data_dir / "text", seed=run.recipe.seed)
    word_vectors = _word_vectors(run, corpus)
    vocabulary = word_vectors.vocabulary
    log({"stage": "word vectors", "vocabulary": len(vocabulary)})
    music_tags, collection = _prepare(run, log)
    exclusion = exclude_labels(run.held_out_labels, collection, [*corpus.class_names, *music_tags], word_vectors)
    collection, class_names = exclusion.collection, exclusion.class_names
    # Names with commas or brackets are groups of the vocabulary, which a query would not join across punctuation.
    joined_names = [" ".join(tokenize(name)) for name in class_names]
    labels = sorted({label for clip in collection.labels for label in clip if vocabulary.split(label)[0]})
    short_names = [_short_name(name) for name in class_names]
    model = _new_model(run, word_vectors, _tag_names([*short_names, *labels], vocabulary))
    classifier = load_audioset_teacher(run.weights_dir).head
    assert isinstance(classifier, nn.Sequential)
    head = exclusion.head(classifier)
    published = chunk_features(model, collection)
    synthetic = invert_features(
        head, np.concatenate(published), per_class=run.recipe.synthetic_per_class, seed=run.recipe.seed
    )
    log({"stage": "feature inversion", "features": len(synthetic.features)})
    data = TrainingData(
        collection=collection,
        targets=TeacherTargets(collection.z, word_vectors.encode(joined_names)),
        synthetic=synthetic,
        book=make_phrase_book(
            corpus, word_vectors, names=[*joined_names, *short_names], extra=labels, keep=exclusion.keep
        ),
        label_vectors=dict(zip(labels, word_vectors.encode(labels), strict=True)),
        music_vectors=word_vectors.encode(sorted(set(class_names[synthetic.logits.shape[1] :]))),
        teacher_head=head,
    )
    student = Student(model, data, run.recipe, device=run.device)
    _fit(student, run.out_dir, published, log)
    features = chunk_features(model, collection)
    metrics = held_out_metrics(model, collection, features)
    log({"stage": "towers", "held_out": metrics})
    line = calibrate(model, collection, synthetic, seed=run.recipe.seed, features=features)
    log({"stage": "calibration", **line})
    notes = {"recipe": asdict(run.recipe), "word_vectors": asdict(run.word_vectors), "calibration": line}
    notes["held_out"] = metrics
    if run.held_out_labels:
        notes["held_out_labels"] = exclusion.record()
    folder = run.out_dir / "model"
    model.cpu().save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
    return folder


def _word_vectors(run: DefaultRun, corpus: Corpus) -> WordVectors:
    path = run.out_dir / WORD_VECTORS_FILE
    if not path.is_file():
        settings = replace(run.word_vectors, seed=run.recipe.seed)
        train_word_vectors(training_sentences(corpus), settings, source=str(run.data_dir / "text")).save(path)
    return WordVectors.load(path)


def _prepare(run: DefaultRun, log: Log) -> tuple[list[str], Collection]:
    """Write the shards that are missing; return the tags of the music teachers and the collection."""
    teacher = load_audioset_teacher(run.weights_dir)
    music_teachers = load_music_teachers(run.weights_dir)
    tags = [tag for music in music_teachers for tag in music.tags]
    cache = run.out_dir / "cache"
    cache.mkdir(parents=True, exist_ok=True)

    def on_shard(name: str) -> None:
        log({"stage": "data", "shard": name})

    write_recorded_shards(
        run.data_dir / "audio", cache, teacher=teacher, music_teachers=music_teachers, on_shard=on_shard
    )
    write_rendered_shards(
        run.soundfonts,
        cache,
        count=run.rendered_clips,
        seed=run.recipe.seed,
        teacher=teacher,
        n_music_tags=len(tags),
        on_shard=on_shard,
    )
    return tags, make_collection(load_shards(cache), held_out=run.held_out, leave_out=run.leave_out)


def _short_name(class_name: str) -> str:
    """Return the first name of an AudioSet class: "Violin, fiddle" -> "violin"."""
    return class_name.split(",")[0].split("(")[0].strip().lower()


def _tag_names(names: list[str], vocabulary: Vocabulary) -> list[str]:
    """Return the tags that the model offers by default: one for each set of known words, sorted."""
    tags: dict[tuple[str, ...], str] = {}
    for name in names:
        known, unknown = vocabulary.split(name)
        if known and not unknown and name not in _NO_TAGS:
            tags.setdefault(tuple(sorted(known)), name)
    return sorted(tags.values())


def _new_model(run: DefaultRun, word_vectors: WordVectors, tag_names: list[str]) -> TwoTowerModel:
    """Return the untrained towers with the published backbone and the word vectors."""
    torch.manual_seed(run.recipe.seed)
    config = TwoTowerConfig(vocab_size=len(word_vectors.vocabulary), word_dim=word_vectors.dim, tag_names=tag_names)
    model = TwoTowerModel(config)
    model.vocabulary = word_vectors.vocabulary
    model.words.codes.copy_(torch.from_numpy(word_vectors.codes))
    model.words.scales.copy_(torch.from_numpy(word_vectors.scales))
    model.words.weights.copy_(torch.from_numpy(word_vectors.weights))
    model.audio_tower.backbone.load_state_dict(load_audioset_teacher(run.weights_dir).backbone.state_dict())
    return model


def _fit(student: Student, out_dir: Path, published: list[np.ndarray], log: Log) -> None:
    """Initialise the towers and run both stages of training, or load what an earlier run has finished."""
    model, heads = student.model, out_dir / "heads.pt"
    if heads.is_file():
        model.load_state_dict(torch.load(heads, map_location="cpu", weights_only=True))
    else:
        initialise(student, log=log)
        student.fit_heads(published, log=log)
        log({"stage": "heads", "held_out": held_out_metrics(model, student.collection, published)})
        torch.save(on_cpu(model.state_dict()), heads)
    student.fit(out_dir, log=log)


def initialise(student: Student, *, log: Log) -> None:
    """Set both towers to the AudioSet teacher with ConSE scores, at low rank; see `spectral_init`."""
    collection, book, recipe = student.collection, student.book, student.recipe
    head = student.data.teacher_head
    assert isinstance(head, nn.Sequential)
    n = head[3].out_features
    classes = student.targets.class_vectors[:n]
    space = low_rank_space(
        student.background_z(6000)[:, :n], class_weights(book.vectors, classes), book.share, rank=recipe.init_rank
    )
    projection = student.model.audio_tower.projection
    init_projection(projection, head, space, collection.class_mean[:n], collection.class_std[:n])
    fit_text_tower(student.model, space, book, classes, steps=recipe.text_steps, seed=recipe.seed, log=log)


def held_out_metrics(
    model: TwoTowerModel, collection: Collection, features: list[np.ndarray] | None = None
) -> dict[str, dict[str, float]]:
    """Return zero-shot metrics of the held-out clips, by which recipes are compared.

    Args:
        model: both towers.
        collection: the clips.
        features: chunk features of each clip, if they are known.

    Returns:
        Pack -> map (mean average precision over the labels of at least three held-out clips of the pack, but not of
        all), precision_at_1 (share of the clips whose best label is right, cosines standardised over the pack's clips),
        clips, labels. Packs without such a label are left out.
    """
    assert model.vocabulary is not None
    vectors = clip_vectors(model.eval(), collection, features)
    metrics = {}
    for pack in sorted(set(collection.packs)):
        rows = [i for i in np.flatnonzero(collection.held_out) if collection.packs[i] == pack and collection.labels[i]]
        counts = Counter(name for i in rows for name in collection.labels[i])
        names = sorted(
            name
            for name, count in counts.items()
            if _MIN_POSITIVES <= count < len(rows) and model.vocabulary.split(name)[0]
        )
        if names:
            scores = vectors[rows] @ model.encode_text(names).T
            standard = (scores - scores.mean(0)) / (scores.std(0) + 1e-9)
            truth = np.array([[name in collection.labels[i] for name in names] for i in rows])
            measured = evaluate(standard, truth, names)["parts"]["all"]
            metrics[pack] = {
                "map": round(measured["tag_to_clip"]["map"], 4),
                "precision_at_1": round(measured["clip_to_tag"]["precision_at_1"], 4),
                "clips": len(rows),
                "labels": len(names),
            }
    return metrics
