"""Which precision to ship: every variant of a checkpoint that runs here, scored and timed."""
