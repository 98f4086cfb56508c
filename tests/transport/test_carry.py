"""One law for every transport rule: where an action was found, the tap at gx is that action of the tap at x.

Networks of many operators get weights that are tied along the orbits of D4 (exactly equivariant); every rule on the
way must then carry the action, and what it found is compared with the numbers that the network computes.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intertwiner.algebra import GSet, Orbit, cyclic, dihedral, subgroup_classes
from intertwiner.network import trace
from intertwiner.numerics.monomial import Monomial
from intertwiner.symmetry import ElementActions, Symmetry, image, invariant, tokens, vector
from intertwiner.testing.tied import entry_orbits
from intertwiner.transport import carry, layouts

D4 = dihedral(4)
CLASSES = subgroup_classes(D4)
REGULAR = GSet.of(D4, [Orbit(CLASSES[0]), Orbit(CLASSES[-1])]).representation()  # 8 + 1 channels
FIXED = GSet.of(D4, [Orbit(CLASSES[-1], multiplicity=2)]).representation()


def kernel_moves(size: int) -> list[np.ndarray]:
    return [a.matrix_on((1, 2)).index for a in image().on(D4, (1, size, size))]


def tie(module: nn.Module, spaces: dict[str, tuple], seed: int = 0) -> nn.Module:
    """Average weights over the orbits of D4: ``spaces[name] = (rho_out, rho_in)`` for every layer with a weight."""
    torch.manual_seed(seed)
    module = module.double().eval()
    for name, (out, into) in spaces.items():
        layer = module.get_submodule(name)
        for part in ("weight", "bias"):
            value = getattr(layer, part, None)
            if value is None:
                continue
            value.data.normal_()
            moves = []
            for g in range(2):
                axes = [out.images[g].index] if out is not None else []
                if part == "weight" and into is not None:
                    axes = [*axes, into.images[g].index]
                    if isinstance(layer, nn.ConvTranspose2d):
                        axes = axes[::-1]
                if value.ndim == 4:
                    axes.append(kernel_moves(value.shape[-1])[g])
                moves.append(axes)
            flat = value.detach().numpy().reshape([len(a) for a in moves[0]])
            labels = entry_orbits(moves)
            value.data.copy_(
                torch.from_numpy(flat.ravel()[np.unique(labels, return_index=True)[1]][labels].reshape(value.shape))
            )
    return module


def check(module: nn.Module, symmetry: Symmetry, x: torch.Tensor, *, relations: int) -> None:
    """The output closes, and at every solved node the numbers move as the action says."""
    module = module.double().eval()
    network = trace(module, (x,))
    ins = {s.name: tuple(s.shape[1:]) for s in network.inputs}
    outs = tuple(network.node(network.nodes[-1].inputs[0]).sample_shape)
    bound = symmetry.bind(next(iter(ins.values())), outs)
    carried = carry(network, bound, tolerance=1e-10)
    assert not {k: v for k, v in carried.lost.items() if v}
    assert carried.closes
    assert len(carried.relations) == relations
    layout, _ = layouts(network, bound)
    nodes = [network.node(name) for name in carried.relations if network.node(name).source]
    run = network.function(nodes)
    for place, g in enumerate(symmetry.group.generators):
        _, here = run((x,))
        _, there = run(bound.act_on_input(g, (x,)))
        for node in nodes:
            relation = carried.relations[node.name]
            moves = ElementActions(symmetry.group, layout[node.name].grids, tuple(node.sample_shape))
            before = moves[g].apply(here[node.tap or node.name]).numpy()
            after = there[node.tap or node.name].numpy()
            axes = [1 + a for a in layout[node.name].features]
            before, after = (
                np.moveaxis(v, axes, range(len(axes))).reshape(len(relation.distinct), -1) for v in (before, after)
            )
            live = np.flatnonzero(relation.distinct >= 0)
            first = live[np.unique(relation.distinct[live], return_index=True)[1]]
            factor = relation.factor[first][:, None]
            np.testing.assert_allclose(
                after[first] / factor,
                relation.actions[place].apply(before[first] / factor),
                atol=1e-9 * np.abs(after).max(),
            )


class Conv(nn.Module):
    def __init__(self, middle, *, stride=1, padding=1, padding_mode="zeros", after=lambda x: x.mean((2, 3))):
        super().__init__()
        self.c1 = nn.Conv2d(2, 9, 3, padding=1)
        self.c2 = nn.Conv2d(9, 9, 3, padding=padding, stride=stride, padding_mode=padding_mode)
        self.fc = nn.Linear(9, 3)
        self.middle, self.after = middle, after

    def forward(self, x):
        x = self.middle(F.relu(self.c1(x)))
        x = torch.tanh(self.c2(x))
        return self.fc(self.after(x))


OUT3 = GSet.of(D4, [Orbit(CLASSES[-1], multiplicity=3)]).representation()
CONV_SPACES = {"c1": (REGULAR, FIXED), "c2": (REGULAR, REGULAR), "fc": (OUT3, REGULAR)}
IMAGE = Symmetry(D4, on_input=image(), on_output=invariant())


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"middle": lambda x: x}, 6),
        ({"middle": lambda x: F.max_pool2d(x, 2)}, 8),
        ({"middle": lambda x: F.avg_pool2d(x, 2)}, 8),
        ({"middle": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1)}, 9),
        ({"middle": lambda x: F.adaptive_avg_pool2d(x, 3)}, 7),
        ({"middle": lambda x: x * 0.5 + 1.0}, 6),
        ({"middle": lambda x: x + x.mean((2, 3), keepdim=True)}, 6),
        ({"middle": lambda x: torch.cat([x, x], 1)[:, :9]}, 6),
        ({"middle": lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2)}, 6),
        ({"middle": lambda x: x + x.flip((2, 3))}, 6),
        ({"middle": lambda x: x, "stride": 2}, 9),
        ({"middle": lambda x: x, "padding": 0}, 6),
        ({"middle": lambda x: x, "padding_mode": "circular"}, 6),
        ({"middle": lambda x: x, "after": lambda x: x.amax((2, 3))}, 6),
        ({"middle": lambda x: x, "after": lambda x: x.sum((2, 3))}, 6),
    ],
)
def test_convolutional_operators_carry_the_action(options, size):
    module = tie(Conv(**options), CONV_SPACES)
    maxima = 1 if "max" in str(options.get("middle").__code__.co_names) else 0
    maxima += 1 if options.get("after") and "amax" in options["after"].__code__.co_names else 0
    check(module, IMAGE, torch.randn(3, 2, size, size, dtype=torch.float64), relations=2 + maxima)


def test_a_flip_between_two_layers_that_expect_none_breaks_the_action():
    """It exchanges r with its inverse, and the second layer is tied for r."""
    module = tie(Conv(lambda x: x.flip(2)), CONV_SPACES)
    network = trace(module, (torch.randn(3, 2, 6, 6, dtype=torch.float64),))
    carried = carry(network, IMAGE.bind((2, 6, 6), (3,)), tolerance=1e-10)
    assert not carried.closes and not carried.opaque


def test_stride_two_on_an_even_grid_is_lost_with_the_reason():
    module = tie(Conv(lambda x: x, stride=2), CONV_SPACES)
    network = trace(module, (torch.randn(3, 2, 8, 8, dtype=torch.float64),))
    carried = carry(network, IMAGE.bind((2, 8, 8), (3,)), tolerance=1e-10)
    assert not carried.closes
    assert any("stride 2" in reason for reason in carried.opaque.values())


class Squeeze(nn.Module):
    """Squeeze and excitation: a product of two values."""

    def __init__(self):
        super().__init__()
        self.c1, self.fc1, self.fc2, self.fc = (
            nn.Conv2d(2, 9, 3, padding=1),
            nn.Linear(9, 9),
            nn.Linear(9, 9),
            nn.Linear(9, 3),
        )

    def forward(self, x):
        x = F.gelu(self.c1(x))
        gate = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3))))))
        return self.fc((x * gate[:, :, None, None]).mean((2, 3)))


def test_a_product_of_two_values():
    spaces = {"c1": (REGULAR, FIXED), "fc1": (REGULAR, REGULAR), "fc2": (REGULAR, REGULAR), "fc": (OUT3, REGULAR)}
    check(tie(Squeeze(), spaces), IMAGE, torch.randn(3, 2, 6, 6, dtype=torch.float64), relations=4)


class Flattened(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.fc1, self.fc2 = nn.Conv2d(2, 9, 3, padding=1), nn.Linear(9 * 16, 9), nn.Linear(9, 3)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(F.relu(self.c1(x)).flatten(1))))


def test_flatten_turns_positions_into_features():
    module = tie(Flattened(), {"c1": (REGULAR, FIXED), "fc2": (OUT3, REGULAR)})
    grid = [a.matrix_on((1, 2)) for a in image().on(D4, (1, 4, 4))]
    moves = [[REGULAR.images[g].index, REGULAR.images[g].kron(grid[g]).index] for g in range(2)]
    labels = entry_orbits(moves)
    module.fc1.weight.data.copy_(torch.randn(labels.max() + 1, dtype=torch.float64)[torch.from_numpy(labels).long()])
    module.fc1.bias.data.copy_(torch.ones(9, dtype=torch.float64))
    check(module, IMAGE, torch.randn(3, 2, 4, 4, dtype=torch.float64), relations=2)


class Denoiser(nn.Module):
    """Ends on the grid: batch norm, a residual sum and a transposed convolution on the way."""

    def __init__(self):
        super().__init__()
        self.c1, self.bn = nn.Conv2d(2, 9, 3, padding=1, bias=False), nn.BatchNorm2d(9)
        self.c2 = nn.Conv2d(9, 9, 3, padding=1)
        self.up = nn.ConvTranspose2d(9, 9, 3, stride=2, padding=1)
        self.c3 = nn.Conv2d(9, 2, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.bn(self.c1(x)))
        x = x + F.relu(self.c2(x))
        return self.c3(F.leaky_relu(self.up(x), 0.1))


def test_an_output_that_moves_with_the_input():
    spaces = {"c1": (REGULAR, FIXED), "c2": (REGULAR, REGULAR), "up": (REGULAR, REGULAR), "c3": (FIXED, REGULAR)}
    module = tie(Denoiser(), spaces)
    with torch.no_grad():  # statistics equal along the orbit of eight, another value for the fixed channel
        for value, pair in (
            (module.bn.running_var, (2.0, 3.0)),
            (module.bn.running_mean, (0.1, 0.4)),
            (module.bn.weight, (1.5, 0.7)),
        ):
            value.copy_(
                torch.tensor([pair[0]] * 8 + [pair[1]])
                if REGULAR.images[0].index[8] == 8
                else torch.tensor([pair[1]] + [pair[0]] * 8)
            )

    class Grown(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return self.inner(x)

    check(
        Grown(),
        Symmetry(D4, on_input=image(), on_output=image()),
        torch.randn(3, 2, 5, 5, dtype=torch.float64),
        relations=3,
    )


class Sets(nn.Module):
    """Tokens: embedding, layer norm, a token-wise layer, mean over tokens."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(10, 6), nn.LayerNorm(6)
        self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, ids):
        return self.fc2(F.gelu(self.fc1(self.norm(self.embed(ids)))).mean(1))


def test_tokens_are_permuted_and_features_stay():
    torch.manual_seed(0)
    module = Sets().double().eval()
    from intertwiner.algebra import symmetric

    symmetry = Symmetry(symmetric(4), on_input=tokens(), on_output=invariant())
    network = trace(module, (torch.randint(10, (3, 4)),))
    carried = carry(network, symmetry.bind((4,), (2,)), tolerance=1e-10)
    assert carried.closes and carried.exact
    assert all(m.is_identity for r in carried.relations.values() for m in r.actions)


class Stream(nn.Module):
    """A linear residual stream: nothing fixes its coordinates, layers read it."""

    def __init__(self, width: int):
        super().__init__()
        self.embed, self.head = nn.Linear(4, width), nn.Linear(width, 4)
        self.read = nn.ModuleList(nn.Linear(width, 8) for _ in range(2))
        self.write = nn.ModuleList(nn.Linear(8, width) for _ in range(2))

    def forward(self, x):
        s = self.embed(x)
        for read, write in zip(self.read, self.write, strict=True):
            s = s + write(torch.relu(read(s)))
        return self.head(s)


def test_a_linear_stream_needs_no_coordinates():
    """Hidden by a random invertible matrix, the stream still carries the action, and readers show it."""
    regular = GSet.of(D4, [Orbit(CLASSES[0])]).representation()
    corners = GSet.of(D4, [Orbit(next(h for h in CLASSES if h.order == 2 and not h.is_normal))]).representation()
    module = Stream(8)
    spaces = {"embed": (regular, corners), "head": (corners, regular)}
    spaces |= {f"{kind}.{i}": (regular, regular) for kind in ("read", "write") for i in range(2)}
    tie(module, spaces)
    hide = torch.randn(8, 8, dtype=torch.float64)
    with torch.no_grad():
        for writer in (module.embed, *module.write):
            writer.weight.copy_(hide @ writer.weight)
            writer.bias.copy_(hide @ writer.bias)
        for reader in (*module.read, module.head):
            reader.weight.copy_(reader.weight @ torch.linalg.inv(hide))
    move = vector(perm=[m.index.tolist() for m in corners.images])
    check(module, Symmetry(D4, on_input=move, on_output=move), torch.randn(3, 4, dtype=torch.float64), relations=2)


def test_a_dense_input_action_is_made_orthogonal():
    """C3 turning the plane in skew coordinates; a quadratic form that it leaves alone."""
    skew = np.array([[1.0, 0.4], [0.0, 1.0]])
    angle = 2 * np.pi / 3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = skew @ turn @ np.linalg.inv(skew)
    rows = np.stack([np.array([1.0, 0.3]) @ np.linalg.matrix_power(turn, k) for k in range(3)]) @ np.linalg.inv(skew)
    module = nn.Sequential(nn.Linear(2, 3), nn.Softplus(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(rows))
        module[0].bias.fill_(0.2)
        module[2].weight.fill_(1.0)
    symmetry = Symmetry(cyclic(3), on_input=vector(matrix=[matrix]), on_output=invariant())
    check(module, symmetry, torch.randn(4, 2, dtype=torch.float64), relations=1)


def test_copies_are_joined_and_dead_neurons_dropped():
    module = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 1)).double()
    with torch.no_grad():  # neurons 0 and 1 are exchanged; 2 and 3 split a copy of 1; 4 is dead, 5 is constant
        module[0].weight.copy_(torch.tensor([[1.0, 2.0], [2.0, 1.0], [4.0, 2.0], [6.0, 3.0], [0.0, 0.0], [0.0, 0.0]]))
        module[0].bias.copy_(torch.tensor([0.5, 0.5, 1.0, 1.5, -1.0, 2.0]))
        module[2].weight.copy_(torch.tensor([[12.0, 4.0, 1.0, 2.0, 7.0, 3.0]]))
    symmetry = Symmetry(cyclic(2), on_input=vector(perm=[1, 0]), on_output=invariant())
    network = trace(module, (torch.zeros(2, 2, dtype=torch.float64),))
    carried = carry(network, symmetry.bind((2,), (1,)), tolerance=1e-10)
    (relation,) = carried.relations.values()
    assert carried.closes
    assert (relation.joined, relation.constant) == (2, 2)
    assert relation.actions == (Monomial([1, 0]),)


def test_a_split_neuron_with_the_wrong_total_does_not_close():
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 2.0], [2.0, 1.0], [4.0, 2.0]]))
        module[0].bias.copy_(torch.tensor([0.5, 0.5, 1.0]))
        module[2].weight.copy_(torch.tensor([[12.0, 4.0, 3.9]]))
    symmetry = Symmetry(cyclic(2), on_input=vector(perm=[1, 0]), on_output=invariant())
    network = trace(module, (torch.zeros(2, 2, dtype=torch.float64),))
    carried = carry(network, symmetry.bind((2,), (1,)), tolerance=1e-10)
    assert not carried.closes and not carried.opaque


@pytest.mark.parametrize(("activation", "scale"), [(nn.ReLU(), 2.0), (nn.Tanh(), 1.0), (nn.Sigmoid(), 1.0)])
def test_the_bound_covers_what_rounding_of_weights_does(activation, scale):
    """Nudge the weights of an exact network: the output defect stays below the bound of the verdict."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(2, 4), activation, nn.Linear(4, 1)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 2.0], [2.0, 1.0], [0.3, -1.0], [-1.0, 0.3]]) * scale)
        module[0].bias.copy_(torch.tensor([0.5, 0.5, 0.2, 0.2]))
        module[2].weight.copy_(torch.tensor([[1.0, 1.0, 2.0, 2.0]]))
        for p in module.parameters():
            p.add_(1e-6 * torch.randn_like(p))
    symmetry = Symmetry(cyclic(2), on_input=vector(perm=[1, 0]), on_output=invariant())
    network = trace(module, (torch.zeros(2, 2, dtype=torch.float64),))
    carried = carry(network, symmetry.bind((2,), (1,)), tolerance=1e-4)
    assert carried.closes and not carried.exact
    x = 2 * torch.rand(5000, 2, dtype=torch.float64) - 1
    defect = float((module(x) - module(x.flip(1))).abs().max().detach())
    assert 0 < defect <= carried.bound < 1e4 * defect


@pytest.mark.parametrize(("scale", "exact"), [(4.0, True), (3.0, False)])
def test_scales_by_powers_of_two_keep_a_relation_exact(scale, exact):
    """Products with 3 of these weights round, so equal bits would prove nothing there; with 4 nothing rounds."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).float()
    with torch.no_grad():
        row = torch.tensor([0.1, 0.7])
        module[0].weight.copy_(torch.stack([row, scale * row.flip(0)]))
        module[0].bias.copy_(torch.tensor([0.3, scale * 0.3]))
        module[2].weight.copy_(torch.tensor([[0.9, 0.9 / scale]]))
    symmetry = Symmetry(cyclic(2), on_input=vector(perm=[1, 0]), on_output=invariant())
    network = trace(module, (torch.zeros(2, 2),))
    carried = carry(network, symmetry.bind((2,), (1,)), tolerance=1e-5)
    assert carried.closes
    assert carried.exact is exact


class Cubes(nn.Module):
    """Two neurons a layer, exchanged by the group; the weights of layer ``i`` have size ``sizes[i]``.

    The second neuron of every layer is three times what symmetry asks for, so nothing holds bit for bit.
    """

    def __init__(self, sizes: list[float]):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in sizes)
        for layer, size in zip(self.layers, sizes, strict=True):
            layer.weight.data = size * torch.tensor([[1.0, 0.3], [0.3, 1.0]], dtype=torch.float64)
            layer.bias.data = size * torch.tensor([0.1, 0.1], dtype=torch.float64)
        self.head = nn.Linear(2, 1)
        self.head.weight.data, self.head.bias.data = torch.ones(1, 2).double(), torch.zeros(1).double()
        for layer, after in pairwise([*self.layers, self.head]):
            layer.weight.data[1] *= 3
            layer.bias.data[1] *= 3
            after.weight.data[:, 1] /= 27

    def forward(self, x):
        for layer in self.layers:
            x = layer(x) ** 3
        return self.head(x)


def carried_through(module: nn.Module):
    network = trace(module.double().eval(), torch.zeros(2, 2, dtype=torch.float64))
    swap = Symmetry(cyclic(2), on_input=vector(perm=[1, 0]), on_output=invariant())
    return carry(network, swap.bind((2,), (1,)), tolerance=1e-10)


def test_cubes_of_large_norms_stay_within_the_range_of_floats():
    sizes = [1.1e9, 1.3e9, 0.7e9, 1.0]  # cubed layer after layer: beyond 10^300, were the norms carried on
    assert carried_through(Cubes(sizes)).closes
    broken = Cubes(sizes)
    broken.layers[2].weight.data[0, 1] *= 1.01
    assert not carried_through(broken).closes


def test_rows_out_of_range_are_lost_and_never_close():
    carried = carried_through(Cubes([1e300, 1e300]))
    assert not carried.closes
    assert any("range of float64" in reason for reason in carried.lost.values())


def test_a_tiny_row_that_is_read_with_a_large_weight_is_no_constant():
    """f(1, 0) = 4 and f(0, 1) = 5: the third neuron is small, and not small in what it does."""
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).float().eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 2.0], [2.0, 1.0], [1e-7, 2e-7]]))
        module[0].bias.zero_()
        module[2].weight.copy_(torch.tensor([[1.0, 1.0, 1e7]]))
        module[2].bias.zero_()
    symmetry = Symmetry(cyclic(2), on_input=vector(perm=[1, 0]), on_output=invariant())
    carried = carry(trace(module, torch.zeros(2, 2)), symmetry.bind((2,), (1,)), tolerance=1e-5)
    assert not carried.closes
