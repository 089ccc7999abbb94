"""The version of detkit; pyproject.toml reads it here."""

VERSION = "0.1.0"
