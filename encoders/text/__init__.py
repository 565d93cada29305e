"""Text encoders: phrases to unit vectors, by word vectors or by a sentence encoder."""
