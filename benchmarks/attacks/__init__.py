"""The attacks of `reliability.py`, one module for each kind."""
