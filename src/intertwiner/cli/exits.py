"""How a command ends: exit codes, and errors as messages instead of tracebacks.

0 proved, or defect <= ``--max-defect``; 1 above it; 2 undecided; 3 wrong use. Besides these 70 for a fault of the
library itself (the only case with a traceback), 130 after Ctrl-C and 141 when the reader of the output has gone.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import typer

from intertwiner.errors import IntertwinerError

PROVED, ABOVE, UNDECIDED, WRONG_USE = 0, 1, 2, 3
INTERNAL, INTERRUPTED, PIPE_CLOSED = 70, 130, 141

# typer 0.12-0.28 stand on click, later ones carry a copy of it; the ancestors of BadParameter are right in both.
UsageError: Any = typer.BadParameter.__mro__[1]
ClickException: Any = typer.BadParameter.__mro__[2]

F = TypeVar("F", bound=Callable[..., int])


def exit_code(record: Mapping[str, Any], max_defect: float) -> int:
    """The exit code of an audit record.

    A network that is not proved passes when its worst defect is at most ``max_defect``. Above it the audit fails,
    unless nothing was refuted and rounding explains the defect: then nothing is decided.

    Example:
        >>> undecided = {"verdict": {"kind": "UNDECIDED"}, "defect": {"worst": 2e-7, "generators": {}}}
        >>> exit_code(undecided, 0.0), exit_code(undecided, 1e-6)
        (2, 0)
    """
    kind, defect = record["verdict"]["kind"], record["defect"] or {}
    worst = defect.get("worst")
    if kind == "PROVED" or (worst is not None and worst <= max_defect):
        return PROVED
    if kind == "REFUTED":
        return ABOVE
    floors = [row["noise_floor"] for row in (defect.get("generators") or {}).values()]
    known = [floor for floor in floors if floor is not None]
    above = worst is not None and bool(known) and worst > max_defect + 10 * max(known)
    return ABOVE if above else UNDECIDED


def printable(text: str) -> str:
    """Control characters shown, not obeyed: a name in a file must not move the cursor of a terminal.

    >>> printable("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def say(text: str) -> None:
    """A line for the person at the terminal; the standard output belongs to results."""
    print(printable(text), file=sys.stderr, flush=True)


def complain(error: BaseException) -> None:
    """An error in the form of the house: its class, then its message."""
    say(f"{type(error).__name__}: {error}")


def guarded(command: F) -> F:
    """A command that ends with its exit code, whatever happens in it."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> NoReturn:
        raise typer.Exit(_run(command, *args, **kwargs))

    return run  # type: ignore[return-value]


def _run(command: Callable[..., int], *args: Any, **kwargs: Any) -> int:
    try:
        code = command(*args, **kwargs)
        sys.stdout.flush()
        return code
    except IntertwinerError as error:
        complain(error)
        return WRONG_USE
    except KeyboardInterrupt:
        return interrupted()
    except BrokenPipeError:
        # What python still holds for the closed pipe goes nowhere, or its own exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (typer.Exit, ClickException):
        raise
    except MemoryError:
        say("MemoryError: not enough memory; try --max-samples. Nothing was written.")
        return WRONG_USE
    except Exception:  # noqa: BLE001  (the last line of defence: 1 and 2 are verdicts, so python's own 1 will not do)
        traceback.print_exc()
        say("This is a fault of intertwiner, not of yours: please report the lines above. Nothing was written.")
        return INTERNAL


def interrupted() -> int:
    say("interrupted: nothing was written")
    return INTERRUPTED


def run_app(app: Callable[..., Any], arguments: list[str] | None) -> int:
    """Run the typer application and give the exit code; its own complaints take the form of the house."""
    try:
        code = app(arguments, prog_name="intertwiner", standalone_mode=False)
    except ClickException as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return interrupted()
    except typer.Exit as leaving:
        return leaving.exit_code
    return code if isinstance(code, int) else PROVED


def _usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "intertwiner"
    say(f"WrongUse: {error.format_message()}\n  '{path} --help' lists what it takes. Nothing was done.")
    return WRONG_USE
