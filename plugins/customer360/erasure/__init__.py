"""Erasing a person everywhere, proving it, and giving a person's data out (docs/erasure.md)."""
