"""The `train` verb: assignment, loss, optimiser, exact resume and the loop over epochs."""
