"""Floor 3: an action carried through each operator of a network."""

from intertwiner.transport.carry import Carried, Layout, carry, layouts
from intertwiner.transport.picture import Picture, Source
from intertwiner.transport.relation import LatentRelation, OutputRelation
from intertwiner.transport.table import rule

__all__ = ["Carried", "LatentRelation", "Layout", "OutputRelation", "Picture", "Source", "carry", "layouts", "rule"]
