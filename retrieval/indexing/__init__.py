"""Index building: from folders of music to committed rows of an index."""
