"""Training batches: images at the training size, augmented, from worker processes."""
