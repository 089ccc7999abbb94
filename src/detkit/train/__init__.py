"""The `train` verb: assignment, loss, optimiser, resume, the loop over epochs, several processes."""
