"""Latency and throughput of models on this machine, and the regression check against a baseline."""
