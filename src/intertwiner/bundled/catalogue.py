"""The table of bundled networks: how to build each, how its group acts, its data, and what an audit should find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from intertwiner.algebra import dihedral, symmetric
from intertwiner.bundled import data
from intertwiner.bundled.data import Data
from intertwiner.bundled.modules import MLP, ConvNet, ShapeNet
from intertwiner.bundled.shapes import NAMES
from intertwiner.symmetry import Symmetry, image, invariant, onehot, tokens, vector


@dataclass(frozen=True)
class Entry:
    """One bundled network. Everything is a function, so that nothing is built before it is asked for.

    Args:
        build: The module, with weights that ``load`` overwrites.
        symmetry: The group and its actions.
        data: Inputs, and labels where the task has some.
        description: What it is and what an audit should find.
    """

    build: Callable[[], nn.Module]
    symmetry: Callable[[], Symmetry]
    data: Callable[[], Data]
    description: str


def _square() -> Symmetry:
    return Symmetry(dihedral(4), on_input=image(), on_output=invariant())


def _square_to_plane() -> Symmetry:
    return Symmetry(dihedral(4), on_input=image(), on_output=vector())


def _left_translation() -> Symmetry:
    return Symmetry(symmetric(4), on_input=onehot("gx", "1y"), on_output=onehot("gz"))


def _three_tokens() -> Symmetry:
    return Symmetry(symmetric(3), on_input=tokens(), on_output=vector())


CATALOGUE: dict[str, Entry] = {
    "tictactoe-tanh": Entry(
        lambda: MLP([18, 96, 64, 1], nn.Tanh),
        _square,
        data.positions,
        "Value of every reachable position of tic-tac-toe; tanh, trained on whole orbits of D4 without any constraint. "
        "Expect: a small end-to-end defect (about .04), signed permutations with R2 .89 to .95 at both hidden layers, "
        "about two thirds of the images g . neuron of the first layer present, most neurons with a mirror as "
        "stabiliser. Not exact, so not proved.",
    ),
    "tictactoe-relu": Entry(
        lambda: MLP([18, 96, 64, 1], nn.ReLU),
        _square,
        data.positions,
        "The same task with ReLU. Expect: a small end-to-end defect (about .02), permutations with R2 .84 to .91, "
        "more than nine in ten images g . neuron of the first layer present: nearly a G-set, mostly D4/Cs. Not exact, "
        "so not proved.",
    ),
    "shapes-conv": Entry(
        lambda: ShapeNet(len(NAMES)),
        _square,
        data.shape_images,
        "Six shapes on noisy 16 x 16 images, drawn with every turn and mirror image equally often; convolution, batch "
        "norm, ReLU, max pool. Expect: an end-to-end defect about .09, and channels that are permuted in part only (R2 "
        ".5 to .7, the linear fit .8 and more): the weights were never tied, so no exact action.",
    ),
    "s4-composition": Entry(
        lambda: MLP([48, 256, 24], nn.ReLU, bias=False),
        _left_translation,
        data.products,
        "x, y -> x y in S4 from one-hot pairs; ReLU without bias, four fifths of the table seen in training. S4 acts "
        "by left translation of x and of the answer. Expect: an end-to-end defect about .01, neurons with subgroups as "
        "stabilisers (orders 3, 4, 6, 8, 12), but less than half of the images present: orbits are incomplete.",
    ),
    "planted-tanh-d4": Entry(
        lambda: MLP([25, 21, 16, 2], nn.Tanh),
        _square_to_plane,
        lambda: (data.noise((1, 5, 5), 1024), None),
        "Exactly equivariant under D4 with a vector in the plane as output, hidden by random permutations and signs. "
        "Expect: PROVED, exactly. First hidden layer D4/1 + D4/Cs + D4/Cs with sign + D4/C2 + D4/D4, second "
        "D4/1 + D4/Cs + D4/Cs with sign.",
    ),
    "planted-conv-d4": Entry(
        lambda: ConvNet(1, (13, 14), 3),
        _square,
        lambda: (data.noise((1, 9, 9), 512), None),
        "A convolutional network, exactly invariant under D4, hidden by random permutations and scales that are powers "
        "of two. Expect: PROVED, exactly. Channels of the first layer D4/1 + D4/Cs + D4/D4, of the second "
        "D4/1 + D4/Cs (the diagonal mirror, another class than the first layer's) + D4/C4.",
    ),
    "planted-relu-s3": Entry(
        lambda: MLP([12, 19, 13, 3], nn.ReLU),
        _three_tokens,
        lambda: (data.noise((3, 4), 1024), None),
        "Three tokens of four features, permuted by S3 together with the three outputs; hidden by random permutations "
        "and arbitrary positive scales, rounded to float32. Expect: PROVED within tolerance, not exactly. First hidden "
        "layer 2 x S3/1 + 2 x S3/C2 + S3/S3, second S3/1 + 2 x S3/C2 + S3/S3.",
    ),
    "asymmetric-relu": Entry(
        lambda: MLP([25, 48, 48, 2], nn.ReLU),
        _square,
        data.noise_with_labels,
        "Trained on a task without symmetry, the sign of a random function of 25 pixels, and audited as if it were "
        "invariant under D4. Expect: an end-to-end defect near that of unrelated answers, a witness that refutes the "
        "symmetry, and no action at any layer: R2 no better than the null.",
    ),
}
