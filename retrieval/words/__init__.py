"""Word vectors of one's own: learnt from text, imported from other tools, looked into."""
