"""What every opened model has in common, whichever engine runs it."""
