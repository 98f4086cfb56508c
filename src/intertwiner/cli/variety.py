"""``intertwiner variety``: what is proved of the functions of a polynomial network, or of attention."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intertwiner.cli.audit import cannot_write, require_folder
from intertwiner.cli.code import code_of
from intertwiner.cli.exits import PROVED, UNDECIDED, say
from intertwiner.cli.identify import show
from intertwiner.cli.subject import Words, open_network
from intertwiner.cli.terminal import counting
from intertwiner.errors import WrongUse

if TYPE_CHECKING:
    from intertwiner.report.svg import Picture
    from intertwiner.variety import Family
    from intertwiner.variety.subject import Subject

ATTENTION = {"width": "width", "rank": "rank", "outputs": "outputs_per_token", "tokens": "tokens"}
FURTHER = {"heads": "heads", "inner": "inner", "layers": "layers"}

ALLOWED = {
    "widths": {"activation", "bias"},
    "filters": {"activation", "bias", "strides", "channels"},
    "attention": set(),
    "filling": {"activation", "depth", "most", "journal"},
    "MODEL": set(),
}
"""Options that go with each way to say which functions."""

DEPTH = 6
"""Layers of weights of a search that names none."""


@dataclass(frozen=True)
class Shape:
    """What is asked about, as the options spell it."""

    widths: str | None = None
    filters: str | None = None
    attention: str | None = None
    filling: str | None = None
    activation: str | None = None
    bias: bool = False
    strides: str | None = None
    channels: str | None = None
    depth: int | None = None
    most: int | None = None
    journal: Path | None = None


@dataclass(frozen=True)
class Variety:
    """What is asked, as the options of ``intertwiner variety`` say it; the words name a MODEL."""

    words: Words | None
    shape: Shape
    equations: int | None = None
    primes: int = 2
    draws: int = 3
    seed: int = 0
    out: Path | None = None
    as_json: bool = False


def run_variety(wish: Variety) -> int:
    """Print what is asked; 0 where all of it is proved, 2 where a part is probable or undecided."""
    require_folder(wish.out)
    kind = kind_of(wish)
    if kind == "filling":
        return _search(wish)
    if kind == "MODEL":
        given = _subject(wish)
        return _describe(wish, given.architecture, given)
    return _describe(wish, family_of(kind, wish.shape), None)


def kind_of(wish: Variety) -> str:
    """Which of the ways to say which functions is used.

    Raises:
        WrongUse: None or several of them, or options that do not go with it.
    """
    shape = wish.shape
    ways = [name for name in ("widths", "filters", "attention", "filling") if getattr(shape, name) is not None]
    given = [*(["MODEL"] if wish.words else []), *("--" + name for name in ways)]
    if len(given) != 1:
        raise WrongUse(
            "exactly one of MODEL, --widths, --filters, --attention and --filling says which functions, got "
            f"{' and '.join(given) or 'none'}. Next step: --widths 2,3,3,1 --activation t^2. Nothing was computed."
        )
    kind = given[0].removeprefix("--")
    for option in ("activation", "bias", "strides", "channels", "depth", "most", "journal"):
        if getattr(shape, option) and option not in ALLOWED[kind]:
            raise WrongUse(f"--{option} does not go with {given[0]}. Next step: leave it out. Nothing was computed.")
    if wish.equations is not None and kind not in ("widths", "MODEL"):
        raise WrongUse(f"--equations goes with MODEL or --widths, not with {given[0]}. Nothing was computed.")
    if kind == "filling" and (wish.primes, wish.draws) != (Variety.primes, Variety.draws):
        raise WrongUse(
            "--primes and --draws do not go with --filling. Next step: leave them out. Nothing was computed."
        )
    if "activation" in ALLOWED[kind] and shape.activation is None:
        raise WrongUse(
            f"--{kind} needs the activation between the layers. Next step: --activation t^2, or 't^3 + 2t', or linear. "
            "Nothing was computed."
        )
    return kind


def _subject(wish: Variety) -> Subject:
    from intertwiner.variety.subject import subject

    words = wish.words or Words("")
    with code_of([words.model]):
        return subject(open_network(words, any_mode=True).network)


def _describe(wish: Variety, family: Family, given: Subject | None) -> int:
    """The dimension; of given parameters degeneracy and smoothness; equations where they are asked for."""
    from intertwiner.variety import Architecture, equations, neurovariety, smoothness

    with counting("rank", family.parameters) as progress:
        found = neurovariety(family, primes=wish.primes, draws=wish.draws, seed=wish.seed, progress=progress)
    record, texts, verdicts = found.to_json(), [str(found)], [found.verdict]
    if given is not None:
        smooth = smoothness(given.architecture, given.theta, seed=wish.seed)
        record |= {"smoothness": smooth.to_json()}
        texts += [str(smooth.degeneracy), str(smooth)]
        verdicts += [smooth.degeneracy.verdict, smooth.verdict]
    if wish.equations is not None and isinstance(family, Architecture):
        known = equations(family, wish.equations, seed=wish.seed)
        record |= {"equations": known.to_json()}
        texts.append(str(known))
        verdicts.append(known.verdict)
    if wish.out is not None:
        from intertwiner.variety.pictures import pictures

        theta = None if given is None else given.theta
        drawn = pictures(family, theta, seed=wish.seed) if isinstance(family, Architecture) else {}
        _write(wish.out, "neurovariety.json", record, drawn)
    show(record, "\n\n".join(texts), wish.as_json)
    return PROVED if all(verdict.is_proved for verdict in verdicts) else UNDECIDED


def _search(wish: Variety) -> int:
    """The minimal widths that fill the space."""
    from intertwiner.variety import filling_architectures
    from intertwiner.variety.activation import activation

    shape, sigma = wish.shape, activation(wish.shape.activation or "")
    ends = numbers(shape.filling, "--filling")
    if len(ends) != 2:
        raise WrongUse(
            f"--filling takes the input and the output width, as in 2,1, got {shape.filling}. Nothing was computed."
        )
    if not sigma.is_monomial:
        raise WrongUse(
            f"--filling is about powers t^r, got {sigma}. Next step: --activation t^2. Nothing was computed."
        )
    try:
        found = filling_architectures(
            *ends, sigma.degree, shape.depth or DEPTH, most=shape.most, out=shape.journal, seed=wish.seed
        )
    except OSError as error:
        raise WrongUse(
            f"--journal {shape.journal} cannot be used: {error.strerror or error}. Next step: a file in a folder that "
            "exists. Nothing was computed."
        ) from error
    record = found.to_json()
    if wish.out is not None:
        from intertwiner.variety.pictures import pictures

        nets = found.architectures()
        _write(wish.out, "filling.json", record, pictures(nets[0], seed=wish.seed) if nets else {})
    show(record, str(found), wish.as_json)
    return PROVED if found.verdict.is_proved else UNDECIDED


def _write(folder: Path, name: str, record: Mapping[str, Any], drawn: Mapping[str, Picture]) -> None:
    """The record and its pictures, all or none."""
    from intertwiner.report import write_files
    from intertwiner.report.standalone import standalone

    texts: dict[Path | str, str] = {folder / key: standalone(picture) for key, picture in drawn.items()}
    texts[folder / name] = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        write_files(texts)
    except OSError as error:
        raise cannot_write(folder, error) from error
    say(f"written: {', '.join(map(str, texts))}")


def family_of(kind: str, shape: Shape) -> Family:
    """The family of functions that --widths, --filters or --attention names.

    Raises:
        WrongUse: For bad numbers.
    """
    from intertwiner.variety import Architecture, Convolution

    if kind == "attention":
        return _attention(str(shape.attention))
    sigma = str(shape.activation)
    if kind == "widths":
        return Architecture(numbers(shape.widths, "--widths"), sigma, shape.bias)
    filters, strides, channels = (
        numbers(getattr(shape, option), f"--{option}") for option in ("filters", "strides", "channels")
    )
    return Convolution(filters, strides, channels, sigma, shape.bias)


def numbers(text: str | None, option: str) -> tuple[int, ...]:
    """Whole numbers between commas; none where the option is not given.

    >>> numbers("2,3,1", "--widths"), numbers(None, "--strides")
    ((2, 3, 1), ())
    """
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise WrongUse(
            f"{option} takes whole numbers between commas, as in 2,3,3,1, got {text!r}. Nothing was computed."
        ) from error


def _attention(text: str) -> Family:
    """``softmax:width=3,rank=1,outputs=3,tokens=3,heads=2,inner=1``."""
    from intertwiner.variety import Attention

    kind, _, rest = text.partition(":")
    names: dict[str, str] = ATTENTION | FURTHER
    fields: dict[str, int] = {}
    for part in filter(None, rest.split(",")):
        name, equals, value = part.partition("=")
        if name.strip() not in names or not equals:
            raise WrongUse(
                f"--attention {text}: {part!r} is none of {', '.join(f'{n}=N' for n in names)}. Nothing was computed."
            )
        fields[names[name.strip()]] = numbers(value, f"--attention {name.strip()}")[0]
    missing = [name for name, long in ATTENTION.items() if long not in fields]
    if missing:
        raise WrongUse(
            f"--attention {text}: {' and '.join(missing)} missing. Next step: "
            "softmax:width=3,rank=1,outputs=3,tokens=3; heads=, inner= and layers= may follow. Nothing was computed."
        )
    make: Callable[..., Family] = Attention
    return make(kind, **fields)
