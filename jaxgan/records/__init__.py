"""What a run keeps on disk: checkpoints, settings, log, notes, names."""
