"""Weights from and to other formats; see `jaxgan.convert.pytorch` for those of reference PyTorch networks."""
