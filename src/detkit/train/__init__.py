"""The `train` verb: assignment, loss, optimiser, resume, the loop over epochs, many processes."""
