"""Backups: what they hold, where they lie, how they are sealed, and how one is taken (docs/backup.md)."""
