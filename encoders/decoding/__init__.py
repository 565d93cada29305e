"""The decoders behind `encoders.decode`: libsndfile and FFmpeg, and what the headers of containers say."""
