"""Floating-point operations of the convolutions and matrix products in a function, counted in its jaxpr.

What the algorithm asks for, not what a backend makes of it: where `jaxgan.nn.convolution` has a form for CPU and plain `lax` for the rest, the plain
one is counted. Multiplications with zeros (padding, or between the pixels of a dilated convolution) are not, so that a convolution and each of
its two gradients count the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

Cost = Callable[[Any], int]
"""Of one equation, a convolution or a matrix product."""


def count(function: Callable, *arguments: Any) -> int:
    """Operations (a multiplication and an addition are two) of all convolutions and matrix products of `function(*arguments)`, loops unrolled.

    Args:
      arguments: arrays or `jax.ShapeDtypeStruct`.
    """
    return operations(trace(function, *arguments))


def trace(function: Callable, *arguments: Any) -> Any:
    """The jaxpr of `function(*arguments)` without what nobody reads."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    # A custom derivative computes every gradient; those nobody reads are compiled away, so they do not count.
    return dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0]


def operations(jaxpr: Any) -> int:
    """`count` of what `trace` gives."""
    return _of_jaxpr(_operations, jaxpr)


def moved(jaxpr: Any) -> int:
    """Bytes of the operands and results of the same convolutions and matrix products, each once: what moves if all between them is fused into them."""
    return _of_jaxpr(_bytes, jaxpr)


def _of_jaxpr(cost: Cost, jaxpr: Any) -> int:
    return sum(_of_equation(cost, equation) for equation in jaxpr.eqns)


def _of_equation(cost: Cost, equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name in ("conv_general_dilated", "dot_general"):
        return cost(equation)
    if name == "scan":
        return params["length"] * _of_jaxpr(cost, params["jaxpr"].jaxpr)
    if name == "cond":
        if _chosen_by_platform(equation):
            return _of_jaxpr(
                cost, params["branches"][-1].jaxpr
            )  # the default; see `jax.lax.platform_dependent`
        return max(_of_jaxpr(cost, branch.jaxpr) for branch in params["branches"])
    if name == "while" and _of_jaxpr(cost, params["body_jaxpr"].jaxpr):
        raise ValueError(
            "convolutions in a while loop, whose trip count is not known, cannot be counted"
        )
    return sum(_of_jaxpr(cost, inner) for inner in _inner(params))


def _operations(equation: Any) -> int:
    if equation.primitive.name == "conv_general_dilated":
        return _convolution(equation)
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    return (
        2
        * math.prod(equation.outvars[0].aval.shape)
        * math.prod(shape[axis] for axis in contracted)
    )


def _bytes(equation: Any) -> int:
    return sum(
        variable.aval.size * variable.aval.dtype.itemsize
        for variable in (*equation.invars, *equation.outvars)
    )


def _chosen_by_platform(equation: Any) -> bool:
    return equation.params.get("branches_platforms") is not None


def _inner(params: dict[str, Any]) -> list[Any]:
    """The jaxprs a call primitive runs, once each. A custom derivative rule is not run: it was used, or is not needed."""
    found = []
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call"):
        if name in params and params[name] is not None:
            found.append(getattr(params[name], "jaxpr", params[name]))
    return found


def _convolution(equation: Any) -> int:
    """2 x batch x input channels of a group x output channels x, for rows and for columns, the pairs of output and tap that meet a real pixel."""
    params, (image, kernel) = equation.params, (variable.aval.shape for variable in equation.invars)
    numbers, groups = (
        params["dimension_numbers"],
        params["feature_group_count"] * params["batch_group_count"],
    )
    channels = (
        image[numbers.lhs_spec[0]]
        * image[numbers.lhs_spec[1]]
        * kernel[numbers.rhs_spec[0]]
        // groups
    )
    pairs = 1
    for i, (low, _) in enumerate(params["padding"]):
        sizes = (
            image[numbers.lhs_spec[2 + i]],
            kernel[numbers.rhs_spec[2 + i]],
            equation.outvars[0].aval.shape[numbers.out_spec[2 + i]],
        )
        pairs *= _pairs(
            sizes,
            low,
            params["window_strides"][i],
            params["lhs_dilation"][i],
            params["rhs_dilation"][i],
        )
    return 2 * channels * pairs


def _pairs(sizes: tuple[int, int, int], low: int, stride: int, spread: int, dilation: int) -> int:
    """How many (output, tap) pairs fall on pixels rather than on padding or on zeros between pixels.

    Args:
      sizes: of image, kernel and output along this axis. low: padding before the image. spread, dilation: of image and kernel.
    """
    image, kernel, output = sizes
    at = stride * np.arange(output)[:, None] + dilation * np.arange(kernel)[None, :] - low
    return int(np.sum((at >= 0) & (at <= spread * (image - 1)) & (at % spread == 0)))
