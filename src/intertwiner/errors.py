"""Every error the library raises on purpose, one class per kind of mistake.

A message says what was expected, what came, where (the tap), the numbers around the decision, the usual
cause, the next step, and what was not done. All classes derive from ``IntertwinerError``.
"""


class IntertwinerError(Exception):
    """Base of every error the library raises on purpose."""


class GroupError(IntertwinerError, ValueError):
    """A table, permutations or matrices that do not form a finite group."""


class GroupTooLarge(IntertwinerError, ValueError):
    """The group is too large for what was asked; the message names the bound and what still works."""


class NotAnAction(IntertwinerError, ValueError):
    """Maps that do not satisfy the group law, or a map that is no homomorphism."""


class ShapeMismatch(IntertwinerError, ValueError):
    """A tensor, weight or action whose shape does not fit what it meets."""


class NoInducedAction(IntertwinerError, ValueError):
    """A grid map that does not pass through a strided, padded or pooled operator."""


class RankUndecided(IntertwinerError, ArithmeticError):
    """Singular values without a gap wide enough to call a rank."""


class ModelInTrainingMode(IntertwinerError, ValueError):
    """Dropout or batch norm in training mode: the network is not one function."""


class ModelNotDeterministic(IntertwinerError, ValueError):
    """The network answers differently when asked the same question twice."""


class NonFiniteWeights(IntertwinerError, ValueError):
    """NaN or infinity among the weights."""


class NonFiniteData(IntertwinerError, ValueError):
    """NaN or infinity among the inputs or activations."""


class EmptyData(IntertwinerError, ValueError):
    """A loader or file without a single sample."""


class DataMismatch(IntertwinerError, ValueError):
    """A batch of another dtype, device or shape than the network takes."""


class CannotTrace(IntertwinerError, RuntimeError):
    """``torch.export`` could not turn the module into a graph."""


class NoRule(IntertwinerError, LookupError):
    """An operator without a rule, where one is needed to go on."""


class UnknownTap(IntertwinerError, KeyError):
    """A tap name that is missing or not unique; the message lists the near ones."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnsafeFile(IntertwinerError, ValueError):
    """A file that could run code when loaded: refused before anything is read from it."""


class CorruptFile(IntertwinerError, ValueError):
    """A file that is damaged or not what its name says."""


class WrongUse(IntertwinerError, ValueError):
    """Arguments that contradict each other or cannot be understood."""


class InvalidRecord(IntertwinerError, ValueError):
    """A record that does not follow the schema it names; the message lists the places."""


class CannotEmit(IntertwinerError, ValueError):
    """A record that cannot be written as torch code: an operator without a rule or without a function."""


class BoxMismatch(IntertwinerError, ValueError):
    """An input box that does not fit the inputs of the network, or is empty."""


class ArchitectureMismatch(IntertwinerError, ValueError):
    """Two networks that do not have the same operators in the same places; the message says where they differ."""


class NotInGauge(IntertwinerError, ValueError):
    """A change of latent coordinates that the architecture cannot hide, or that no parameter can take up."""


class Contradiction(IntertwinerError, ArithmeticError):
    """Two computations that must agree exactly do not: a bug in the library, please report it."""


class CannotRewrite(IntertwinerError, ValueError):
    """A network or symmetry that the rewrite does not cover; the message names the layer or the action."""


class LiftTooWide(CannotRewrite):
    """The group average of a layer has more distinct neurons than were allowed."""


class BudgetTooSmall(CannotRewrite):
    """No equivariant network of this kind is as cheap as was asked for; the message names the least cost."""


class DataTooSmall(CannotRewrite):
    """Fewer independent samples than a least-squares fit has unknowns; the message names both."""


class Diverged(IntertwinerError, ArithmeticError):
    """Training left the range of floats; the message names the step and the rate."""
