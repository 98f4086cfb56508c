"""Floor 6: the exactly equivariant twin of a trained network."""

from intertwiner.rewrite.certificate import Certificate
from intertwiner.rewrite.rewrite import Rewrite, load, rewrite, tradeoff

__all__ = ["Certificate", "Rewrite", "load", "rewrite", "tradeoff"]
