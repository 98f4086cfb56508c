"""Reading a ``.pt2`` without trusting it: every part is checked, then a clean archive is loaded instead of the file.

``torch.export.load`` can run code in at least six ways: pickled weights and constants, sample inputs (it falls back
to a full unpickler when the safe one refuses), script objects, compiled libraries, size expressions (sympy evaluates
them as Python), and operator names (``torch.os.system`` resolves). Trees of arguments may import modules by name. So
the zip is read here; what is not one of the plain parts is refused; and torch gets a new archive in memory, built
from the checked parts. That also closes the gaps between two zip readers (double names, names that differ in case,
two directories) and between looking and loading. Not checked: whether the weights are any good.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from intertwiner.errors import CorruptFile, UnsafeFile

ROOT = "package"
MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
PLAIN = ("archive_format", "archive_version", "byteorder", ".data/version", "version", ".data/serialization_id")
TENSOR_FILE = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
CONFIGS = {
    "weights": "data/weights/model_weights_config.json",
    "constants": "data/constants/model_constants_config.json",
}

OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.(?P<name>\w+)\.\w+")
ARITHMETIC = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_|matmul)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.sym_(max|min|int|float|not|sqrt|ite)"
)
# These reach outside the graph: files, or text on the user's terminal.
FORBIDDEN_OPERATORS = {"from_file", "save", "_print", "__import__"}

SYMPY = {
    "Symbol", "Integer", "Rational", "Add", "Mul", "FloorDiv", "CeilDiv", "CleanDiv", "Mod", "PythonMod", "Max", "Min",
    "ModularIndexing", "IntTrueDiv", "FloatTrueDiv", "TruncToInt", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or",
    "Not", "oo", "int_oo", "true", "false", "True", "False",
}  # fmt: skip
SYMBOL = re.compile(r"[su]\d{1,9}|[A-Za-z]\w{0,80}")
TREES = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None}


def load_pt2(path: str | Path) -> ExportedProgram:
    """The exported program in a ``.pt2`` file, loaded from its checked parts.

    Raises:
        UnsafeFile: Something in it could run code; nothing was loaded.
        CorruptFile: It is damaged, or no ``.pt2`` at all.

    Cost:
        The archive is copied once in memory.
    """
    path = Path(path)
    clean = checked_archive(path)
    try:
        return torch.export.load(clean)
    except Exception as error:
        raise CorruptFile(
            f"{path.name}: torch.export cannot read it: {type(error).__name__}: {_line(error)}"
        ) from error


def checked_archive(path: Path) -> io.BytesIO:
    """A new archive with the parts of the old one that are plain data.

    Raises:
        UnsafeFile: A part that could run code.
        CorruptFile: Not a readable archive of ``torch.export.save``.
    """
    parts = _read(path)
    if parts.get("archive_format") != b"pt2" or MODEL not in parts:
        if any(name.endswith("serialized_exported_program.json") or name == "version.txt" for name in parts):
            raise UnsafeFile(
                f"{path.name} is no pt2 archive of today's torch.export.save; older layouts are pickles, never read.\n"
                "  Load it where you trust it and save it again with torch.export.save."
            )
        raise CorruptFile(f"{path.name} holds no exported program (no {MODEL})")
    unknown = [
        n for n in parts if n not in (*PLAIN, MODEL, SAMPLES, *CONFIGS.values()) and not TENSOR_FILE.fullmatch(n)
    ]
    # Files for the reader of the archive are left out; anything else that torch would open is refused.
    refused = [n for n in unknown if not n.startswith("extra/")]
    if refused:
        raise _unsafe(path, f"it holds {refused[0]!r}, which is neither graph nor tensor (compiled code or a pickle)")
    kept = {n: parts[n] for n in parts if n in PLAIN or TENSOR_FILE.fullmatch(n)}
    for kind, name in CONFIGS.items():
        kept[name] = _checked_config(path, kind, parts, name)
    kept[MODEL] = _checked_model(path, _json(path, parts, MODEL))
    kept[SAMPLES] = _checked_samples(path, parts.get(SAMPLES, b""))
    return _write(kept)


def _read(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            names = [i.filename for i in infos]
            if len({n.casefold() for n in names}) != len(names):
                raise _unsafe(path, "two of its parts have the same name, so two readers would see two files")
            packed = [i.filename for i in infos if i.compress_type != zipfile.ZIP_STORED]
            if packed:
                raise CorruptFile(f"{path.name}: {packed[0]!r} is compressed; torch.export.save never compresses")
            return {n.partition("/")[2] or n: archive.read(n) for n in names if not n.endswith("/")}
    except FileNotFoundError:
        raise CorruptFile(f"there is no file {path}") from None
    except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError, RuntimeError) as error:
        raise CorruptFile(f"{path.name} is no readable zip archive: {_line(error)}") from error


def _write(parts: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(f"{ROOT}/{name}", content)
    buffer.seek(0)
    return buffer


def _json(path: Path, parts: dict[str, bytes], name: str) -> Any:
    if name not in parts:
        raise CorruptFile(f"{path.name}: the part {name!r} is missing")
    try:
        return json.loads(parts[name])
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{path.name}: {name!r} is no JSON: {_line(error)}") from error


def _checked_config(path: Path, kind: str, parts: dict[str, bytes], name: str) -> bytes:
    config = _json(path, parts, name)
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise CorruptFile(f"{path.name}: {name!r} lists no tensors")
    for key, entry in entries.items():
        if not isinstance(entry, dict):
            raise CorruptFile(f"{path.name}: the entry {key!r} of {name!r} is damaged")
        # Only the literal False is safe: torch asks for truth, so 1 or "no" would unpickle.
        if entry.get("use_pickle") is not False:
            raise _unsafe(path, f"{kind} entry {key!r} is a pickle (use_pickle)")
        part = f"data/{kind}/{entry.get('path_name')}"
        if not TENSOR_FILE.fullmatch(part):
            raise _unsafe(
                path, f"{kind} entry {key!r} is stored as {entry.get('path_name')!r}, which is no plain tensor"
            )
        if part not in parts:
            raise CorruptFile(f"{path.name}: the numbers of {key!r} ({part}) are missing")
        _check_tree(path, entry)
    return json.dumps(config).encode()


def _checked_samples(path: Path, content: bytes) -> bytes:
    """The sample inputs, if they are tensors in tuples, lists and dictionaries; written anew."""
    if not content:
        return content
    try:
        samples = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:
        raise _unsafe(path, f"its sample inputs are no plain tensors ({_line(error)[:80]})") from error
    for leaf in pytree.tree_leaves(samples):
        if type(leaf) not in (Tensor, torch.nn.Parameter):
            raise _unsafe(path, f"a sample input is no tensor but {type(leaf).__name__}")
    buffer = io.BytesIO()
    torch.save(samples, buffer)
    return buffer.getvalue()


def _checked_model(path: Path, model: Any) -> bytes:
    if not isinstance(model, dict) or "graph_module" not in model:
        raise CorruptFile(f"{path.name}: {MODEL} holds no graph")
    # Guards are Python source that the unlifted module would compile; this library checks its inputs itself.
    model = {**model, "guards_code": []}
    _check_tree(path, model)
    return json.dumps(model).encode()


def _check_tree(path: Path, tree: Any) -> None:
    """Walk the JSON and refuse every string that torch would evaluate, import or call."""
    todo = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo.extend(item)
        if not isinstance(item, dict):
            continue
        if isinstance(item.get("metadata"), dict):
            kept = item["metadata"].get("nn_module_stack")
            item["metadata"] = {} if kept is None else {"nn_module_stack": str(kept)}
        for key, value in item.items():
            if key in ("target", "as_operator") and isinstance(value, str):
                _check_operator(path, item, key, value)
            elif key == "expr_str":
                _check_expression(path, value)
            elif key in ("in_spec", "out_spec", "treespec") and isinstance(value, str):
                _check_treespec(path, value)
            elif key in ("as_custom_obj", "as_opaque_obj", "as_graph") and value is not None:
                raise _unsafe(path, f"its graph holds {key.removeprefix('as_')!r}, which is no tensor operation")
            elif key == "custom_obj_values" and value:
                raise _unsafe(path, "its graph holds custom objects")
            else:
                todo.append(value)


def _check_operator(path: Path, item: dict[str, Any], key: str, value: str) -> None:
    if key == "target" and "inputs" not in item:
        return  # the target of an input in the signature is a parameter name
    match = OPERATOR.fullmatch(value)
    if match is not None and match["name"].rstrip("_") not in FORBIDDEN_OPERATORS:
        return
    if ARITHMETIC.fullmatch(value) is None:
        raise _unsafe(path, f"its graph calls {value!r}, which is no operator of torch.ops.aten")


def _check_expression(path: Path, text: Any) -> None:
    """A size is arithmetic of symbols: nothing else may reach sympy, which evaluates text as Python."""
    if not isinstance(text, str) or len(text) > 2000:
        raise _unsafe(path, "a size in its graph is no short expression")
    try:
        parsed = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unsafe(path, f"a size in its graph is no expression: {text[:60]!r}") from None
    for node in ast.walk(parsed):
        plain = (
            (isinstance(node, ast.Name) and (node.id in SYMPY or re.fullmatch(r"[su]\d{1,9}", node.id)))
            or (isinstance(node, ast.Constant) and isinstance(node.value, (bool, int)))
            or (isinstance(node, ast.Constant) and isinstance(node.value, str) and SYMBOL.fullmatch(node.value))
            or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
            or isinstance(node, (ast.Expression, ast.keyword, ast.Load, ast.BinOp, ast.UnaryOp, ast.Compare))
            or (
                isinstance(node, (ast.operator, ast.unaryop, ast.cmpop)) and not isinstance(node, (ast.Pow, ast.LShift))
            )
        )
        if not plain:
            raise _unsafe(path, f"a size in its graph is more than arithmetic: {text[:60]!r}")


def _check_treespec(path: Path, text: str) -> None:
    if not text:
        return
    try:
        todo = [json.loads(text)]
    except (ValueError, RecursionError):
        raise CorruptFile(f"{path.name}: a description of its arguments is no JSON") from None
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo.extend(item)
        elif isinstance(item, dict):
            if item.get("type") not in TREES:
                raise _unsafe(
                    path, f"its arguments nest in a {item.get('type')!r}; only tuples, lists and dicts are read"
                )
            context = item.get("context")
            if isinstance(context, str):
                _check_context(path, context)
            todo.extend(v for k, v in item.items() if k != "context")


def _check_context(path: Path, text: str) -> None:
    try:
        keys = json.loads(text)
    except ValueError:
        raise _unsafe(path, "the keys of its arguments are no JSON") from None
    if not all(isinstance(k, (str, int, type(None))) for k in (keys if isinstance(keys, list) else [keys])):
        raise _unsafe(path, "the keys of its arguments are more than names")


def _unsafe(path: Path, what: str) -> UnsafeFile:
    return UnsafeFile(
        f"{path.name} was refused: {what}.\n"
        "  Loading it could run code. Only tensors and operators of aten are read; nothing was loaded."
    )


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
