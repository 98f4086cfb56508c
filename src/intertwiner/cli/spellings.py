"""The tables that ``--help`` prints: models, groups, actions, data, exit codes.

Plain text on purpose: the same on every terminal, within 80 columns, without colour.
"""

from __future__ import annotations

import textwrap

Table = tuple[tuple[str, str], ...]

MODELS: Table = (
    ("net.pt2", "torch.export; checked before it is loaded, pickles are refused"),
    ("folder/", "a model that this library saved"),
    ("package.module:callable", "called without arguments, returns a torch.nn.Module; imports your code"),
)

GROUPS: Table = (
    (
        "C4 D4 S5 A5 Q8 V4 Dic3 F20",
        "cyclic, dihedral (D4 has 8 elements; generators r, a quarter turn, and s, a mirror), symmetric, ...",
    ),
    ("S5xS5, C2^3", "products and powers"),
    ("file.npy|.npz|.json", "a Cayley table, entry (g, h) is g after h, element 0 the identity; .npz may hold "
     "table and generators, .json a list of rows or a group that this library wrote"),
    ("module:callable", "returns a Group; imports your code"),
)  # fmt: skip

# The same table as intertwiner.symmetry.parse.SPELLINGS, which cannot be imported without torch; a test compares them.
ACTIONS: Table = (
    ("image", "turns and flips of the last two axes"),
    ("image:flip=up-down", "another mirror or turn; one per generator between ;"),
    ("image:size=28x28", "images stored flat, row by row"),
    ("image:axes=0 1", "which sample axes are the grid"),
    ("image:perm=1 0 2", "and the channels permuted; also :sign= and :matrix="),
    ("image:shift", "cyclic shifts: C_n the width, C_n x C_m height and width"),
    ("vector:perm=1 0 3 2", "permutations of the last axis, j to p[j]"),
    ("vector:sign=-1 -1 1 1", "signs"),
    ("vector:perm=1 0:sign=-1 1", "both: the sign stands at the place moved to"),
    ("vector:matrix=file.npy", "matrices, (generators, n, n): .npy, .npz, .csv (stacked); or [0 -1/1 0]"),
    ("tokens, tokens:perm=..", "permutations of the first sample axis; rows likewise"),
    ("onehot:x,y", "one-hot group elements; words x y z gx yh gzh xg gxg 1y"),
    ("invariant", "no action"),
    ("same, same:name", "like the input"),
    ("module:callable", "function(g, tensor)"),
    ("policy=same|value=invariant", "several tensors, by name; image|invariant by position"),
)

DATA: Table = (
    ("images.npy", "one array, the first axis counts samples"),
    ("data.npz", "one array, or arrays that are called like the inputs; also .safetensors"),
    ("images:data.npz", "the array 'images' of the file; also .safetensors"),
    ("x=a.npy", "the input x; repeat --data for each input"),
    ("module:callable", "called without arguments, returns any iterable of batches; imports your code"),
    ("(nothing)", "normal noise in the shape of the exported input, or of --example; the report says so"),
)

EXITS: Table = (
    ("0", "proved, or worst defect <= --max-defect"),
    ("1", "above it"),
    ("2", "undecided"),
    ("3", "wrong use: a message on stderr says what, nothing is written"),
)

CONVERTED = (
    "Floats of another width are converted to the network's type, and the report says so. Whole numbers are never "
    "turned into floats by themselves: --scale 1/255 brings bytes to [0, 1], --scale 1 takes them as they are."
)
YOUR_CODE = (
    "module:callable imports and runs your code, with the current folder first on the path. Nothing else runs code: "
    "arrays are read without pickle, .pt with weights_only=True, .pt2 only after every part was checked."
)


def table(title: str, rows: Table, left: int = 28) -> str:
    """A table as a paragraph that typer leaves alone.

    >>> print(table("Exit codes:", (("0", "proved"),), left=4).replace(chr(8), "|"))
    |
    Exit codes:
      0   proved
    """
    lines = [title]
    for word, meaning in rows:
        # A spelling that fills its column gets the next line for its meaning.
        head = [f"  {word}"] if len(word) >= left else []
        first = " " * (left + 2) if head else f"  {word:<{left}}"
        lines += head + textwrap.wrap(meaning, 76, initial_indent=first, subsequent_indent=" " * (left + 2))
    return "\b\n" + "\n".join(lines)


def audit_epilog() -> str:
    """What stands below the options of ``intertwiner audit --help``."""
    example = (
        "intertwiner audit net.pt2 --group D4 --input image --output invariant \\\n"
        "      --data images.npz --out report/"
    )
    return "\n\n".join(
        [
            f"\b\nExample:\n  {example}",
            table("MODEL:", MODELS),
            table("--group:", GROUPS),
            table("--input, --output:", ACTIONS),
            table("--data:", DATA),
            CONVERTED,
            table("Exit codes:", EXITS, left=4),
            YOUR_CODE,
        ]
    )
