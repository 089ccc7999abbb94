"""Which precision to ship: every form of a checkpoint that runs here, scored and timed in turns."""
