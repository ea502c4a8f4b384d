"""Train a family from one call: `run`. See `jaxgan.run.train`."""

from jaxgan.run.train import CHECKPOINT_EVERY, LOG_EVERY, NO_AUGMENT, SAMPLE_EVERY, run

__all__ = ["CHECKPOINT_EVERY", "LOG_EVERY", "NO_AUGMENT", "SAMPLE_EVERY", "run"]
