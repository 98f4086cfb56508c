"""Floor 5: what a trained network does with a symmetry: defects, latent actions, orbits, verdicts."""

from intertwiner.audit.compare import Comparison, compare
from intertwiner.audit.record import Audit, LatentAction
from intertwiner.audit.run import Effort, audit

__all__ = ["Audit", "Comparison", "Effort", "LatentAction", "audit", "compare"]
