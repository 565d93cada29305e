"""Data sets of tagged clips: readers of their layouts, splits, and the clips as audio."""
