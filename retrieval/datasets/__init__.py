"""Datasets of tagged clips: one file a layout, each with CITATION, LICENCE, SPLITS, `validate` and a reader."""
