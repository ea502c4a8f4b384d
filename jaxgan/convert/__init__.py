"""Weights from and to other formats, for the networks; see `jaxgan.convert.pytorch` for those of reference PyTorch networks. Knows no family."""
