"""Training from start to end: the loop, its batches, its evaluations."""
