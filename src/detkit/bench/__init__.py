"""Latency of models on this machine: the only room that reads a clock to measure."""
