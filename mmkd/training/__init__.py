"""Training: Step, loop, optimiser, checkpoints, randomness."""
