"""A whole CLAP checkpoint of transformers with random weights, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

RATE_HZ = 48_000
PHRASES = (
    "This is a sound of acoustic guitar.",
    "This is a sound of a dog barking.",
    "This is a sound of slow classical piano.",
    "This is a sound of heavy metal with loud drums.",
    "This is a sound of rain.",
    "This is a sound of techno.",
)


def clap_config(*, fused: bool = False, vocab_size: int = 400, **sizes: Any) -> Any:
    """The configuration of a ClapModel with two layers in each tower."""
    from transformers import ClapConfig

    text = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
    }
    audio = {
        "hidden_size": 16,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "num_hidden_layers": 2,
        "enable_fusion": fused,
        "fusion_type": None,
    }
    return ClapConfig(text_config=text, audio_config=audio, projection_dim=16, **sizes)


def save_clap(folder: Path, *, fused: bool = False, seed: int = 0) -> Any:
    """Write a checkpoint that hears differences between phrases and between sounds, and return its model."""
    from transformers import ClapFeatureExtractor, ClapModel

    vocab_size = save_tokenizer(folder)
    torch.manual_seed(seed)
    model = ClapModel(clap_config(fused=fused, vocab_size=vocab_size)).eval()
    extractor = ClapFeatureExtractor(truncation="fusion" if fused else "rand_trunc", padding="repeatpad")
    _spread(model, folder, extractor)
    model.save_pretrained(str(folder))
    extractor.save_pretrained(str(folder))
    return model


def save_tokenizer(folder: Path) -> int:
    """Train and write a byte-level RoBERTa tokenizer; return the number of its tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(PHRASES, vocab_size=320, min_frequency=1, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    tokenizer = RobertaTokenizer.from_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return len(tokenizer)


@torch.no_grad()
def _spread(model: Any, folder: Path, extractor: Any) -> None:
    """Centre both towers on what they give for a few inputs: as they are drawn, all inputs end in about one place."""
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(str(folder))(list(PHRASES), padding=True, return_tensors="pt")
    sounds = extractor(list(some_sounds().values()), sampling_rate=RATE_HZ, return_tensors="pt")
    longer = torch.zeros_like(sounds["is_longer"])
    pooled = {
        "text": model.text_model(tokens["input_ids"], tokens["attention_mask"]).pooler_output,
        "audio": model.audio_model(input_features=sounds["input_features"].float(), is_longer=longer).pooler_output,
    }
    for side, values in pooled.items():
        projection = getattr(model, f"{side}_projection")
        out = projection(values)
        projection.linear2.weight.div_(out.std(0).mean())
        projection.linear2.bias.copy_(-projection(values).mean(0))


def some_sounds(*, duration_s: float = 10.0) -> dict[str, np.ndarray]:
    """Unlike sounds at 48 kHz in [-1, 1], float32 [shape=(n,)]."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    rng = np.random.default_rng(0)
    sounds = {
        "noise": np.clip(rng.normal(scale=0.1, size=len(time_s)), -1, 1),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time_s),
        "silence": np.zeros(len(time_s)),
        "clicks": 0.9 * (np.arange(len(time_s)) % 12000 < 20),
        "sweep": 0.4 * np.sin(2 * np.pi * (100 + 300 * time_s) * time_s),
    }
    return {name: sound.astype(np.float32) for name, sound in sounds.items()}
