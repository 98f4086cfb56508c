"""Torch modules to graphs of latent spaces: one frozen record per operator, one rule per torch operator."""

from intertwiner.network import rules_linear, rules_pointwise, rules_reduce, rules_shape
from intertwiner.network.load import load_model, load_weights, register_format, save_model
from intertwiner.network.network import Network
from intertwiner.network.node import (
    Add,
    ChannelAffine,
    Concat,
    Constant,
    Conv,
    Divide,
    Embedding,
    Expand,
    Identity,
    Index,
    Input,
    LayerNorm,
    Linear,
    MatMul,
    Multiply,
    Node,
    Op,
    Opaque,
    Output,
    Pad,
    Param,
    Permute,
    PointwiseOp,
    Pool,
    Reduce,
    Reshape,
    Softmax,
)
from intertwiner.network.rule import Call, Fixed, Unruled, Value, register_rule
from intertwiner.network.run import InputSpec
from intertwiner.network.spaces import LatentSpace, ParameterAxis
from intertwiner.network.trace import trace
