"""What an architecture is worth: proxies, short trainings, shared weights, latency."""
