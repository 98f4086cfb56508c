"""An oracle for Jacobians and dimensions: outputs expanded by flint as polynomials in parameters and inputs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from flint import Ordering, fmpq, fmpq_mat, fmpq_mpoly_ctx

from intertwiner.variety import Architecture, Convolution


def symbols(parameters: int, inputs: int) -> tuple[Any, list[Any], list[Any]]:
    names = [f"w{i}" for i in range(parameters)] + [f"x{i}" for i in range(inputs)]
    context = fmpq_mpoly_ctx.get(names, Ordering.lex)
    gens = list(context.gens())
    return context, gens[:parameters], gens[parameters:]


def sigma(family: Any, z: Any) -> Any:
    return sum((z**k * fmpq(c.numerator, c.denominator) for k, c in family.activation.terms), z * 0)


def dense_outputs(net: Architecture) -> tuple[Any, list[Any]]:
    context, w, a = symbols(net.parameters, net.inputs)
    weights = iter(w)
    for l, (fan_in, fan_out) in enumerate(pairwise(net.widths)):
        if l:
            a = [sigma(net, z) for z in a]
        rows = [[next(weights) for _ in range(fan_in)] for _ in range(fan_out)]
        b = [next(weights) if net.bias else 0 for _ in range(fan_out)]
        a = [sum((u * v for u, v in zip(row, a, strict=True)), w[0] * 0) + c for row, c in zip(rows, b, strict=True)]
    return context, a


def convolution_outputs(net: Convolution) -> tuple[Any, list[Any]]:
    context, w, x = symbols(net.parameters, net.inputs)
    weights, n = iter(w), net.lengths[0]
    a = [x[c * n : (c + 1) * n] for c in range(net.channels[0])]
    for l, (out, reads, taps) in enumerate(net.shapes):
        if l:
            a = [[sigma(net, z) for z in channel] for channel in a]
        filters = [[[next(weights) for _ in range(taps)] for _ in range(reads)] for _ in range(out)]
        b = [next(weights) if net.bias else 0 for _ in range(out)]
        a = [
            [
                sum(
                    (filters[c][e][k] * a[e][net.strides[l] * i + k] for e in range(reads) for k in range(taps)),
                    w[0] * 0,
                )
                + b[c]
                for i in range(net.lengths[l + 1])
            ]
            for c in range(out)
        ]
    return context, [channel[0] for channel in a]


def derivatives(outputs: list[Any], parameters: int, at: list[int]) -> list[list[fmpq]]:
    """The derivative of every output after every parameter, at a point of parameters and inputs."""
    return [[f.derivative(p)(*at) for p in range(parameters)] for f in outputs]


def coefficient_rank(outputs: list[Any], parameters: int, theta: list[int]) -> int:
    """Rank over the rationals of the derivatives of all coefficients after all parameters, at a parameter."""
    columns: list[dict[tuple, fmpq]] = []
    for p in range(parameters):
        column: dict[tuple, fmpq] = {}
        for o, f in enumerate(outputs):
            for exponents, c in f.derivative(p).to_dict().items():
                value = c
                for base, k in zip(theta, exponents[:parameters], strict=True):
                    value *= fmpq(base) ** int(k)
                key = (o, *exponents[parameters:])
                column[key] = column.get(key, fmpq(0)) + value
        columns.append(column)
    keys = sorted(set().union(*columns))
    return fmpq_mat([[column.get(key, fmpq(0)) for column in columns] for key in keys]).rank()
