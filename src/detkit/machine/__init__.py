"""What this machine is and what it is doing: CPU, GPU, clocks, heat, power. Nothing is changed."""
