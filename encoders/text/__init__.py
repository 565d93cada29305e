"""Text encoding: from phrases to unit vectors, and the word vectors that it rests on."""
