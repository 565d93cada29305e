"""The stages of the default model, from data to a model directory.

Word vectors (`words`), training data (`data`), what the taggers know (`knowledge`), the fixed part of the space
(`composed_space`), the trained part (`student`), calibration (`calibrate`). The first two take half an hour, write
their results to the output folder and are resumed by the same command; the others take a few minutes.
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

from encoders.composed import ComposedProjection, ComposedTextTower
from encoders.level import DEFAULT_LEVEL
from encoders.text.composed import ComposedSpec
from encoders.text.tokenizer import tokenize
from encoders.text.vocabulary import Vocabulary
from encoders.text.word_vectors import WordVectors
from encoders.two_tower import TwoTowerConfig, TwoTowerModel
from retrieval.evaluation.protocol import evaluate
from scripts.recipes.default.calibrate import calibrate, clip_vectors
from scripts.recipes.default.collection import Collection, load_shards, make_collection
from scripts.recipes.default.composed_space import LowRank, low_rank
from scripts.recipes.default.conse import bank_weights
from scripts.recipes.default.corpus import Corpus, read_corpus
from scripts.recipes.default.data import (
    Embedder,
    write_open_music_shards,
    write_recorded_shards,
    write_rendered_shards,
)
from scripts.recipes.default.exclusion import check_resumed, exclude_labels
from scripts.recipes.default.knowledge import CLIP_STD, Knowledge, learn_knowledge
from scripts.recipes.default.phrase_sampling import make_phrase_book
from scripts.recipes.default.sentence_vectors import open_encoder
from scripts.recipes.default.settings import TAPS, WORD_VECTORS_FILE, DefaultRun
from scripts.recipes.default.student import Student, TrainingData
from scripts.recipes.default.teachers import load_audioset_teacher, load_music_teachers
from scripts.recipes.default.words import make_word_vectors

__all__ = ["held_out_metrics", "train_default"]

Log = Callable[[dict[str, Any]], None]

_MIN_POSITIVES = 3
# Classes and labels that are not offered as tags: they name no sound, or too many.
_NO_TAGS = frozenset(("00s", "60s", "70s", "80s", "90s", "sound effect", "inside", "outside", "computer", "weird"))


def train_default(run: DefaultRun, *, log: Log) -> Path:
    """Train the model, or resume, and return the model directory `out_dir/model`.

    Args:
        run: the settings.
        log: called with a record of each stage and, now and then, of a step.

    Raises:
        ValueError: a label to hold out is unknown, or the folder has a model of another recipe.
        DatasetError: a pack is missing or its table cannot be read.
        FileNotFoundError: a text, a checkpoint or a soundfont is missing.
    """
    run.out_dir.mkdir(parents=True, exist_ok=True)
    check_resumed(run.out_dir, run.held_out_labels)
    recipe = run.recipe
    corpus = read_corpus(run.data_dir / "text", seed=recipe.seed)
    music_tags, collection = _prepare(run, log)
    word_vectors = _word_vectors(run, corpus, [*corpus.class_names, *music_tags], log)
    vocabulary = word_vectors.vocabulary
    exclusion = exclude_labels(run.held_out_labels, collection, [*corpus.class_names, *music_tags], word_vectors)
    collection = exclusion.collection
    # Names with commas or brackets are groups of the vocabulary, which a query would not join across punctuation.
    names = [" ".join(tokenize(name)) for name in exclusion.class_names]
    teacher = load_audioset_teacher(run.weights_dir)
    assert isinstance(teacher.head, nn.Sequential)
    head = exclusion.head(teacher.head)
    n_head = head[3].out_features
    banks = (tuple(names[:n_head]), tuple(names[n_head:]))
    labels = sorted({label for clip in collection.labels for label in clip if vocabulary.split(label)[0]})
    short_names = [_short_name(name) for name in exclusion.class_names]
    knowledge = learn_knowledge(
        collection,
        head,
        n_components=recipe.components,
        damping=recipe.damping,
        penalty=recipe.music_penalty,
    )
    log({"stage": "knowledge", "classes": len(names), "music_correlation": round(knowledge.music.correlation, 4)})
    book = make_phrase_book(corpus, word_vectors, names=[*names, *short_names], extra=labels, keep=exclusion.keep)
    bank_vectors = [word_vectors.encode(bank) for bank in banks]
    spec = ComposedSpec(
        banks=banks,
        anchors=tuple(label for label in labels if label in collection.contrasted),
        rank=recipe.rank,
        trained_dim=recipe.trained_dim,
        components=recipe.components,
        audio_hidden=recipe.audio_hidden,
        head_features=knowledge.head.weight1.shape[1],
        head_hidden=len(knowledge.head.bias1),
        clip_std=CLIP_STD,
    )
    z = knowledge.standard_logits(collection.clip_features())
    weights = bank_weights(book.vectors, bank_vectors, temperature=spec.temperature)
    space = low_rank(z, collection.share, weights, book.share, rank=recipe.rank)
    log({"stage": "composed space", "rank": recipe.rank, "kept": round(space.kept, 4)})
    model = _new_model(run, spec, word_vectors, _tag_names([*short_names, *labels], vocabulary))
    set_space(model, knowledge, space, word_vectors)
    is_music = np.isfinite(collection.music).all(axis=1)
    data = TrainingData(
        collection=collection,
        scaler=knowledge.scaler,
        z=taught(z, collection.music, knowledge, n_head=n_head),
        banks=bank_vectors,
        is_music=is_music,
        book=book,
        label_vectors=dict(zip(labels, word_vectors.encode(labels), strict=True)),
    )
    Student(model, data, recipe).fit(log=log)
    model.eval()
    vectors = clip_vectors(model, collection)
    set_covariances(model, vectors, collection.share)
    metrics = held_out_metrics(model, collection, vectors)
    log({"stage": "student", "held_out": metrics})
    line = calibrate(model, collection, vectors, seed=recipe.seed)
    log({"stage": "calibration", **line})
    notes = {"recipe": asdict(recipe), "word_vectors": asdict(run.word_vectors), "calibration": line}
    notes |= {"music_correlation": knowledge.music.correlation, "rank_kept": space.kept, "held_out": metrics}
    if run.held_out_labels:
        notes["held_out_labels"] = exclusion.record()
    folder = run.out_dir / "model"
    model.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
    return folder


def _word_vectors(run: DefaultRun, corpus: Corpus, names: list[str], log: Log) -> WordVectors:
    """Return the word vectors of the output folder, made if they are not there."""
    path = run.out_dir / WORD_VECTORS_FILE
    if path.is_file():
        return WordVectors.load(path)
    return make_word_vectors(
        corpus,
        run.data_dir / "text",
        run.out_dir,
        names=names,
        settings=replace(run.word_vectors, seed=run.recipe.seed),
        encode=open_encoder(run.sentence_encoder, run.out_dir),
        log=log,
    )


def _prepare(run: DefaultRun, log: Log) -> tuple[list[str], Collection]:
    """Write the shards that are missing; return the tags of the music teachers and the collection."""
    music_teachers = load_music_teachers(run.weights_dir)
    tags = [tag for teacher in music_teachers for tag in teacher.tags]
    cache = run.out_dir / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    embed = Embedder(run.weights_dir)

    def on_shard(name: str) -> None:
        log({"stage": "data", "shard": name})

    audio = run.data_dir / "audio"
    write_recorded_shards(audio, cache, embed=embed, music_teachers=music_teachers, on_shard=on_shard)
    if run.open_music:
        write_open_music_shards(audio, cache, embed=embed, music_teachers=music_teachers, on_shard=on_shard)
    write_rendered_shards(
        run.soundfonts,
        cache,
        count=run.rendered_clips,
        seed=run.recipe.seed,
        embed=embed,
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


def _new_model(run: DefaultRun, spec: ComposedSpec, word_vectors: WordVectors, tag_names: list[str]) -> TwoTowerModel:
    """Return the untrained towers with the published backbone and the word vectors."""
    torch.manual_seed(run.recipe.seed)
    recipe = run.recipe
    config = TwoTowerConfig(
        backbone="mn04",
        backbone_options={"taps": list(TAPS)},
        level=DEFAULT_LEVEL.to_dict(),
        composed=spec.to_dict(),
        storage="float16",
        text_hidden=recipe.text_hidden,
        dropout=recipe.dropout,
        word_dim=word_vectors.dim,
        vocab_size=len(word_vectors.vocabulary),
        tag_names=tag_names,
        **word_vectors.sizes,
    )
    model = TwoTowerModel(config)
    model.read_words(word_vectors)
    model.audio_tower.backbone.load_state_dict(load_audioset_teacher(run.weights_dir).backbone.state_dict())
    return model


@torch.no_grad()
def set_space(model: TwoTowerModel, knowledge: Knowledge, space: LowRank, word_vectors: WordVectors) -> None:
    """Set the fixed part of both towers.

    Args:
        model: the towers, with a composed space.
        knowledge: the classes' logits as maps of features.
        space: projections of standardised logits and of class weights.
        word_vectors: give the vectors of the class names and of the anchors.
    """
    projection, text_tower = model.audio_tower.projection, model.text_tower
    assert isinstance(projection, ComposedProjection) and isinstance(text_tower, ComposedTextTower)
    head, music = knowledge.head, knowledge.music
    scaled = space.audio / knowledge.std
    of_head, of_music = scaled[:, : len(head.bias2)], scaled[:, len(head.bias2) :]
    values = {
        "mean": knowledge.scaler.mean,
        "inverse_std": knowledge.scaler.inverse_std,
        "components": knowledge.scaler.components,
        "head_weight": head.weight1,
        "head_bias": head.bias1,
        "class_projection": of_head @ head.weight2,
        "component_projection": of_music @ music.weight,
        "offset": of_head @ head.bias2 + of_music @ music.bias - scaled @ knowledge.mean,
    }
    for name, value in values.items():
        getattr(projection, name).copy_(torch.from_numpy(value))
    text_tower.class_parts.copy_(torch.from_numpy(space.text.T))
    text_tower.read_names(word_vectors)


@torch.no_grad()
def set_covariances(model: TwoTowerModel, vectors: np.ndarray, share: np.ndarray) -> None:
    """Set the covariances by which the text tower standardises its two parts.

    Args:
        model: the towers.
        vectors: of clips [shape=(n_clips, dim)].
        share: weight of each clip, summing to 1 [shape=(n_clips,)].
    """
    tower = model.text_tower
    assert isinstance(tower, ComposedTextTower)
    centred = vectors - share @ vectors
    rank = tower.spec.rank
    for buffer, part in ((tower.composed_covariance, centred[:, :rank]), (tower.trained_covariance, centred[:, rank:])):
        buffer.copy_(torch.from_numpy((share[:, None] * part).T @ part))


def taught(z: np.ndarray, music: np.ndarray, knowledge: Knowledge, *, n_head: int) -> np.ndarray:
    """Return the standardised logits that are distilled: the music teachers' own ones where they have processed a clip.

    Args:
        z: standardised logits of all classes, the music tags predicted [shape=(n_clips, n_classes)].
        music: the teachers' logits, NaN in the rows of other clips [shape=(n_clips, n_tags)].
        knowledge: gives the moments.
        n_head: classes of the AudioSet tagger, which come first.
    """
    own = (music - knowledge.mean[n_head:]) / knowledge.std[n_head:]
    return np.concatenate([z[:, :n_head], np.where(np.isfinite(own), own, z[:, n_head:])], axis=1).astype(np.float32)


def held_out_metrics(model: TwoTowerModel, collection: Collection, vectors: np.ndarray) -> dict[str, dict[str, float]]:
    """Return zero-shot metrics of the held-out clips, by which recipes are compared.

    Args:
        model: both towers.
        collection: the clips.
        vectors: of the clips, by `clip_vectors` [shape=(n_clips, dim)].

    Returns:
        Pack -> map (mean average precision over the labels of at least three held-out clips of the pack, but not of
        all), precision_at_1 (share of the clips whose best label is right, cosines standardised over the pack's clips),
        clips, labels. Packs without such a label are left out.
    """
    assert model.vocabulary is not None
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
