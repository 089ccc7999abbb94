"""Latency of a whole search space from a few of its networks, measured on the device itself."""
