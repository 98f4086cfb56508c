"""A crafted ``.pt2`` is refused before anything in it runs; the attacks are real, as torch itself shows."""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path

import pytest
import torch
from pt2_attacks import ATTACKS, MODEL, SEEN_TO_RUN, WEIGHTS, honest, write

from intertwiner.errors import CorruptFile, UnsafeFile
from intertwiner.network import load_model, load_weights, trace
from intertwiner.network.archive import checked_archive

HONEST = honest()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_does_not_run(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = write(ATTACKS[name](HONEST, mark), tmp_path / "model.pt2")
    with pytest.raises(UnsafeFile, match=r"(?s)model\.pt2.*nothing was loaded|saved? it again"):
        load_model(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", sorted(SEEN_TO_RUN))
def test_the_attack_is_real(name: str, tmp_path: Path) -> None:
    """Without our gate the code runs: a gate that stops nothing real would not be a gate."""
    mark = tmp_path / "ran"
    path = write(ATTACKS[name](HONEST, mark), tmp_path / "model.pt2")
    logging.disable(logging.CRITICAL)
    try:
        torch.export.load(path)
    except Exception:  # noqa: BLE001  (whatever happens after the code ran)
        pass
    finally:
        logging.disable(logging.NOTSET)
    assert mark.exists()


def test_an_honest_archive_is_loaded(tmp_path: Path) -> None:
    path = write(HONEST, tmp_path / "model.pt2")
    network = trace(load_model(path))
    assert network.taps == ("input", "0:out", "1:out")
    assert network(torch.zeros(5, 3))[0].shape == (5, 4)


def test_guards_are_source_code_and_are_dropped(tmp_path: Path) -> None:
    import json

    content = json.loads(HONEST[MODEL])
    content["guards_code"] = ["__import__('os').system('true')"]
    path = write({**HONEST, MODEL: json.dumps(content).encode()}, tmp_path / "model.pt2")
    assert json.loads(zipfile.ZipFile(checked_archive(path)).read(f"package/{MODEL}"))["guards_code"] == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", [MODEL, MODEL.upper()])
def test_two_parts_with_one_name_are_refused(second: str, tmp_path: Path) -> None:
    """Python and torch would each read another one of them."""
    path = write(HONEST, tmp_path / "model.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"m/{second}", b"{}")
    with pytest.raises(UnsafeFile, match="same name"):
        load_model(path)


def test_a_compressed_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data/weights/weight_0", b"\0" * 10**6)
    with pytest.raises(CorruptFile, match="compressed"):
        load_model(path)


@pytest.mark.parametrize("cut", [0, 10, 500, -30])
def test_a_damaged_archive_is_corrupt(cut: int, tmp_path: Path) -> None:
    path = write(HONEST, tmp_path / "model.pt2")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CorruptFile, match=r"model\.pt2"):
        load_model(path)


@pytest.mark.parametrize("missing", [WEIGHTS, MODEL, "data/weights/weight_0"])
def test_a_missing_part_is_named(missing: str, tmp_path: Path) -> None:
    path = write({k: v for k, v in HONEST.items() if k != missing}, tmp_path / "model.pt2")
    with pytest.raises((CorruptFile, UnsafeFile)):
        load_model(path)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"config": 3}', b'{"config": {"a": 1}}'])
def test_a_damaged_description_is_corrupt(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(CorruptFile):
        load_model(write({**HONEST, WEIGHTS: content}, tmp_path / "model.pt2"))


def test_numbers_of_the_wrong_length_are_corrupt(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="cannot read"):
        load_model(write({**HONEST, "data/weights/weight_0": b"\0" * 4}, tmp_path / "model.pt2"))


def test_weights_with_code_are_refused(tmp_path: Path) -> None:
    from pt2_attacks import Touch

    mark = tmp_path / "ran"
    torch.save({"weight": Touch(mark)}, tmp_path / "weights.pt")
    with pytest.raises(UnsafeFile, match=r"weights\.pt"):
        load_weights(tmp_path / "weights.pt")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_damaged_weights_are_corrupt(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not a file of weights")
    with pytest.raises(CorruptFile, match=name):
        load_weights(tmp_path / name)


def test_weights_that_are_no_tensors_are_corrupt(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save([1, 2, 3], buffer)
    (tmp_path / "w.pt").write_bytes(buffer.getvalue())
    with pytest.raises(CorruptFile, match="state_dict"):
        load_weights(tmp_path / "w.pt")


def test_the_layout_of_older_torch_is_refused(tmp_path: Path) -> None:
    """Its weights and constants are pickles."""
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", b"\x80")
    with pytest.raises(UnsafeFile, match="older layouts"):
        load_model(path)
