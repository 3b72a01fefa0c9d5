"""The generated pages of docs/: tables, feeds, settings."""
