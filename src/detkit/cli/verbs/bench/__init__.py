"""`detkit bench` and its tables."""
