"""Where candidates are evaluated: this process, or the nodes of a Ray cluster."""
