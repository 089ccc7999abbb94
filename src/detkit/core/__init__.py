"""What every room stands on: errors, JSON values, lazy imports, boxes. Numpy and no other party."""
