"""The `train` verb: assignment, loss, optimiser, exact resume, the loop over epochs, several processes."""
