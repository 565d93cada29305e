"""Backbones: the networks from waveforms to features, one architecture a file."""
