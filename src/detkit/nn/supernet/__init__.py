"""Networks that hold every network of a search space."""
