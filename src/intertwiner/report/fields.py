"""Every key of the audit record, with its kind and its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SCHEMA = "intertwiner.audit/1"


@dataclass(frozen=True)
class Spec:
    """What may stand at one place of a record.

    Args:
        kind: "text", "number", "integer", "flag", "record", "table" (names to items), "list" or "array" (nested
            lists of numbers).
        meaning: One sentence for the reader of the JSON.
        required: The key must be there and must not be null.
        choices: The values a text may take; empty for any.
        fields: The keys of a record.
        item: What a list or table holds; None for anything.
    """

    kind: str
    meaning: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    fields: Mapping[str, Spec] = field(default_factory=dict)
    item: Spec | None = None
    empty_when_absent: bool = True


def _text(meaning: str, *choices: str, required: bool = False) -> Spec:
    return Spec("text", meaning, required, choices)


def _number(meaning: str, *, required: bool = False) -> Spec:
    return Spec("number", meaning, required)


def _integer(meaning: str, *, required: bool = False) -> Spec:
    return Spec("integer", meaning, required)


def _record(meaning: str, *, required: bool = False, **fields: Spec) -> Spec:
    return Spec("record", meaning, required, fields=fields)


def _list(meaning: str, item: Spec, *, required: bool = False) -> Spec:
    return Spec("list", meaning, required, item=item)


def _table(meaning: str, item: Spec, *, optional: bool = False) -> Spec:
    return Spec("table", meaning, item=item, empty_when_absent=not optional)


_NAMES = Spec("text", required=True)
_MISSING = _table("Why a part is null, by the name of the part.", _NAMES)

VERDICT = _record(
    "What was decided about the network as a whole.",
    required=True,
    kind=_text("The decision.", "PROVED", "REFUTED", "UNDECIDED", required=True),
    claim=_text("The statement that was judged.", required=True),
    reason=_text("Why it was decided so, or why it could not be.", required=True),
    exact=Spec("flag", "PROVED: the relations between the weights hold bit for bit, not only within tolerance."),
    bound=_number("PROVED within tolerance: largest change of an output over `box`."),
    box=_text("The inputs the bound holds for, in words."),
    theorem=_text("PROVED: the theorem it rests on. Otherwise one by which the claim is false; empty for none."),
    hypotheses=_table("Its hypotheses, each with whether and how it was checked.", _NAMES),
    witness=_record(
        "REFUTED: an input at which the claim fails.",
        inputs=_table(
            "The arrays by name.",
            _record(
                "",
                required=True,
                shape=Spec("array", "Shape, with a leading batch axis of one."),
                dtype=_text("Type of the numbers."),
                values=Spec("array", "All values, row by row."),
            ),
        ),
        element=_text("The group element that moves it."),
        defect=_number("The violation there."),
        noise_floor=_number("What rounding alone can explain there."),
    ),
)

WEIGHTS = _record(
    "What the weights alone say.",
    status=_text(
        "Whether a latent action follows from the weights.",
        "exact",
        "within tolerance",
        "broken",
        "not covered",
        required=True,
    ),
    residual=_number("Largest residual of the relations, relative to the norm of the row."),
    reason=_text("Why it is broken or not covered; otherwise how it was found."),
    representation=_text("The latent action in irreps, e.g. `D4: 3·A1 + A2 + 4·E`."),
    orbits=_text("The same as orbits of neurons, e.g. `2 x D4/C2v + 1 x D4/1`."),
    cycles=_table("The action of each generator on the neurons, in cycle notation.", _NAMES),
    irreps=_list(
        "The irreps that occur.",
        _record(
            "",
            required=True,
            name=_text("Name of the irrep.", required=True),
            dimension=_integer("Its dimension over the reals."),
            type=_text("real, complex or quaternionic."),
            multiplicity=_integer("How often it occurs in the latent action."),
            share=_number("Share of the variance of the tap in it, 0 to 1."),
        ),
    ),
    undetermined=_integer("Dimensions on which the action is not determined."),
    joined=_integer("Neurons that are copies of another one and were joined to it."),
)

DATA = _record(
    "What the activations say: graded, never proved.",
    generators=_table(
        "One row per generator.",
        _record(
            "",
            required=True,
            linear_r2=_number("Share of variance explained by the best linear map, held out."),
            gauge_r2=_number("The same for the best element of the gauge group K."),
            defect=_number("Relative error of the best element of K: |h(gx) - k h(x)| / |h(x) - mean|."),
            noise_floor=_number("The defect that rounding alone explains."),
            null_wrong_element=_number("R2 inside K when another element of the group is compared."),
            null_random_network=_number("R2 inside K of the same network with random weights."),
            null_wrong_positions=_number(
                "R2 inside K where another element has moved the positions than the input; null without positions."
            ),
            centred_r2=_number("`gauge_r2` about the means: constants are set aside."),
            permutation_r2=_number("`centred_r2` of the best plain permutation of the features."),
            in_place_r2=_number("`centred_r2` where no feature moves, only positions, and signs where K has them."),
            found=_record(
                "What the best element of K, about the means, does to the features; null where it mixes them.",
                text=_text("In words."),
                features=_integer("How many there are."),
                fixed=_integer("Features that stay, with their sign."),
                flipped=_integer("Features that stay and change their sign."),
                moved=_integer("Features that move."),
                moved_variance=_number("Share of the variance in features that move."),
            ),
        ),
    ),
    elements=_table(
        "Shares of variance about the means for every element, on orbit-symmetrised data; null where not measured.",
        _record(
            "",
            required=True,
            centred_r2=_number("Of the best element of K, held out."),
            permutation_r2=_number("Of the best plain permutation."),
            in_place_r2=_number("Where no feature moves."),
        ),
        optional=True,
    ),
    samples=_integer("Rows that the figures were taken on."),
    reason=_text("Why figures are missing."),
)

ORBITS = _record(
    "The action put together from stabilisers of neurons.",
    decision=_text("Whether the layer carries an action.", "action", "partial", "none", required=True),
    reason=_text("Why it was decided so."),
    explained_neurons=_number("Share of the neurons in complete orbits."),
    explained_variance=_number("Share of the variance in complete orbits."),
    present=_number("Share of the images g.neuron that are found among the neurons."),
    present_null=_number("The same share for wrong g."),
    gap=_number("Distance between the correlations inside and outside the stabiliser."),
    spread=_number("Spread of the correlations inside the stabiliser."),
    types=_list(
        "One row per type of orbit.",
        _record(
            "",
            required=True,
            stabiliser=_text("Name of the stabiliser, up to conjugacy.", required=True),
            order=_integer("Its order."),
            neurons=_integer("Neurons with this stabiliser."),
            orbits=_integer("Orbits of this type."),
            complete=_integer("How many of them have every member."),
        ),
    ),
    lift_width=_integer("Width after lift and merge: neurons of the exactly equivariant layer."),
)

FILTERS = _record(
    "First-layer filters, grouped in orbits.",
    shape=Spec("array", "Shape of one filter: (h, w), (channels, h, w) or (n,)."),
    orbits=_list(
        "One entry per orbit.",
        _record(
            "",
            required=True,
            stabiliser=_text("Name of the stabiliser."),
            members=_list(
                "The neurons of the orbit.",
                _record(
                    "",
                    required=True,
                    neuron=_integer("Number of the neuron.", required=True),
                    values=Spec("array", "The filter.", True),
                ),
                required=True,
            ),
        ),
    ),
)

TAP = _record(
    "",
    required=True,
    name=_text("The tap, spelt like the module path.", required=True),
    aliases=_list("Other tap names that lead to the same place.", _NAMES),
    operator=_text("What computes it."),
    space=_text("The latent space; taps joined by an addition share one."),
    dimension=_integer("Number of features."),
    grid=Spec("array", "Height and width of a feature map."),
    gauge=_text("The gauge group K of the space, in words."),
    weights=WEIGHTS,
    data=DATA,
    orbits=ORBITS,
    filters=FILTERS,
    breaks=_list("What breaks the symmetry here, in words.", _NAMES),
    missing=_MISSING,
)

IDENTIFIABILITY = _record(
    "Which parameters can be told from the function, and whether the theorem of layerwise equivariance applies.",
    applies=Spec("flag", "A pointwise, global theorem says that the parameters are identifiable."),
    verdict=_record(
        "Whether the parameters, reduced, are determined by the function up to the gauge.",
        kind=_text("The decision.", "PROVED", "UNDECIDED", required=True),
        claim=_text("The statement.", required=True),
        reason=_text("Why.", required=True),
    ),
    neurons=Spec("array", "Neurons before and after reduction."),
    removed=_list(
        "Redundant neurons, by layer and kind.",
        _record(
            "",
            required=True,
            tap=_text("The layer.", required=True),
            kind=_text("Why they are redundant.", required=True),
            count=_integer("How many.", required=True),
        ),
    ),
    gauge=_list(
        "The gauge of every hidden space.",
        _record(
            "",
            required=True,
            space=_text("The latent space.", required=True),
            dimension=_integer("Its coordinates."),
            group=_text("The group, in words."),
            parameters=_integer("Its dimension."),
        ),
    ),
    theorems=_list(
        "Theorems that speak about such networks.",
        _record(
            "",
            required=True,
            theorem=_text("Name and source.", required=True),
            reach=_text("Pointwise and global, generic, or an open set."),
            statement=_text("What follows where every hypothesis holds."),
            holds=Spec("flag", "Every hypothesis was checked and holds."),
            hypotheses=_table("Each hypothesis, with its answer and the number that decides.", _NAMES),
        ),
    ),
    rewritten=_text("How the network had to be rewritten for its layers to carry the action; empty where it was not."),
    representations=_table("By layer of the rewritten network, the action that it carries.", _NAMES),
    note=_text("What else is to be known: why no theorem speaks, or why nothing was reduced."),
)

AUDIT = _record(
    "",
    required=True,
    schema=_text("Name and version of this schema.", SCHEMA, required=True),
    network=_record(
        "The network.",
        required=True,
        name=_text("Its name.", required=True),
        dtype=_text("Type of its weights."),
        parameters=_integer("Number of parameters."),
        inputs=_list("Shape of each input, batch included.", Spec("array")),
        outputs=_table("Shape of each output by name.", Spec("array")),
        operators_without_rule=_list(
            "Operators the weight path cannot pass.",
            _record(
                "", required=True, tap=_text("Where."), operator=_text("Which.", required=True), reason=_text("Why.")
            ),
        ),
    ),
    group=_record(
        "The group.",
        required=True,
        name=_text("Its name.", required=True),
        order=_integer("Number of elements."),
        generators=_list("Names of the generators.", _NAMES),
        definition=_record("The whole group as `Group.to_json` writes it, where its name does not say it."),
    ),
    symmetry=_record(
        "How the group acts.", input=_text("On the inputs, in words."), output=_text("On the outputs, in words.")
    ),
    data=_record(
        "The data of the data path.",
        source=_text("Where they came from."),
        samples=_integer("How many."),
        batches=_integer("In how many batches."),
        note=_text("What the reader should know about them."),
    ),
    verdict=VERDICT,
    identifiability=IDENTIFIABILITY,
    defect=_record(
        "End-to-end equivariance defect |f(gx) - g f(x)| / |f(x) - mean f|.",
        generators=_table(
            "One row per generator.",
            _record(
                "",
                required=True,
                value=_number("The defect."),
                noise_floor=_number("The defect that rounding alone explains."),
                null=_number("The defect of a wrong output action or of a random network."),
                outputs=_table("The defect of each output by name; `value` is the worst.", Spec("number")),
            ),
        ),
        elements=_table("The defect of every element, where the group is small.", Spec("number"), optional=True),
        worst=_number("The largest of all."),
    ),
    taps=_list("The chain of layers, in order of computation.", TAP, required=True),
    breaks=_list(
        "What breaks the symmetry, the largest first.",
        _record(
            "", required=True, tap=_text("Where."), reason=_text("What.", required=True), size=_number("How much.")
        ),
    ),
    notes=_list("Everything else the reader should know.", _NAMES),
    missing=_MISSING,
    seed=_integer("The seed of every random choice."),
    seconds=_table("Wall time by part, in seconds.", Spec("number")),
    environment=_table("Versions and machine.", Spec("text")),
)
