"""Checkpoints of a run: `load` one, or start networks from one. See `jaxgan.records.checkpoint`."""

from jaxgan.records.checkpoint import (
    BEST_FILE,
    Checkpoints,
    CheckpointWarning,
    initialise_from,
    load,
    names,
    number_of,
    origin,
    same_origin,
    sampler,
    versions,
)

__all__ = [
    "BEST_FILE",
    "CheckpointWarning",
    "Checkpoints",
    "initialise_from",
    "load",
    "names",
    "number_of",
    "origin",
    "same_origin",
    "sampler",
    "versions",
]
