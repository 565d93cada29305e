"""The part of a model's config that describes its audio input: it is taken from the backbone, and checked on load."""

from __future__ import annotations

from transformers import PreTrainedConfig

from encoders.backbones.base import Backbone, check_chunk_length
from encoders.level import LevelRule

__all__ = ["SEGMENT_S", "complete_audio_config"]

SEGMENT_S = 10.0
"""By default a segment averages as many chunks of the backbone's default length as come nearest to this."""


def complete_audio_config(config: PreTrainedConfig, backbone: Backbone) -> LevelRule | None:
    """Store in a config what its backbone takes as input.

    Args:
        config: has the fields `sample_rate_hz`, `front_end`, `chunk_s`, `segment_chunks` and `level`. The first four
            are filled in where they are None, with the backbone's sample rate, front end and chunk length, and with the
            number of its chunks in a segment of about 10 s, and checked where they are not. `level` holds the fields of
            a `LevelRule`, or None where chunks keep their level.
        backbone: the network that was built for the config.

    Returns:
        The level rule.

    Raises:
        ValueError: the config contradicts the backbone, or its level rule is none of this version.
    """
    if config.front_end not in (None, backbone.front_end_config):
        raise ValueError(
            f"the front end in the config is not that of {type(backbone).__name__}: the model needs another version"
        )
    config.front_end = backbone.front_end_config
    config.sample_rate_hz = int(config.sample_rate_hz or backbone.sample_rate_hz)
    config.chunk_s = float(config.chunk_s or backbone.default_chunk_s)
    check_chunk_length(backbone, sample_rate_hz=config.sample_rate_hz, chunk_s=config.chunk_s)
    config.segment_chunks = int(config.segment_chunks or max(1, round(SEGMENT_S / backbone.default_chunk_s)))
    if config.segment_chunks < 1:
        raise ValueError(f"segment_chunks={config.segment_chunks}: a segment has at least one chunk")
    if config.level is None:
        return None
    rule = LevelRule.from_dict(config.level)
    config.level = rule.to_dict()
    return rule
