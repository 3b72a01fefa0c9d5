"""The marts gate: what must be true after a publication. It can undo nothing; it tells on-call at once."""
