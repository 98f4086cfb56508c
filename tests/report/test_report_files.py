"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import sample

from intertwiner.errors import CorruptFile, InvalidRecord
from intertwiner.report import load, save, to_html, to_json, write, write_text


def test_save_writes_both_files_and_nothing_else(tmp_path: Path) -> None:
    places = save(sample.realistic(), tmp_path / "deep" / "report")
    assert [p.name for p in places] == ["audit.json", "report.html"]
    assert sorted(p.name for p in places[0].parent.iterdir()) == ["audit.json", "report.html"]
    assert json.loads(places[0].read_text(encoding="utf-8")) == sample.realistic()
    assert places[1].read_text(encoding="utf-8") == to_html(sample.realistic())
    assert load(tmp_path / "deep" / "report") == load(places[0]) == sample.realistic()


def test_save_replaces_an_older_report(tmp_path: Path) -> None:
    save(sample.minimal(), tmp_path)
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    save(sample.proved(), str(tmp_path))
    assert load(tmp_path)["verdict"]["kind"] == "PROVED"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["audit.json", "mine.txt", "report.html"]


def test_files_get_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("", encoding="utf-8")
    for place in save(sample.minimal(), tmp_path):
        assert place.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_an_invalid_record_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecord):
        save(sample.minimal() | {"taps": 3}, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("call", range(1, 5))
def test_ctrl_c_leaves_no_half_written_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool, call: int
) -> None:
    """Interrupted at each flush and each rename: all files old, or all files new."""
    folder = tmp_path / "report"
    if existing:
        save(sample.minimal(), folder)
    calls = 0

    def interrupting(real):
        def wrapped(*arguments):
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt
            return real(*arguments)

        return wrapped

    monkeypatch.setattr(write.os, "fsync", interrupting(os.fsync))
    monkeypatch.setattr(write.os, "replace", interrupting(os.replace))
    with pytest.raises(KeyboardInterrupt):
        save(sample.realistic(), folder)
    monkeypatch.undo()
    if not folder.exists():
        assert call <= 2
        assert not existing
        return
    record = sample.minimal() if existing and call <= 2 else sample.realistic()
    assert sorted(p.name for p in folder.iterdir()) == ["audit.json", "report.html"]
    assert (folder / "audit.json").read_text(encoding="utf-8") == to_json(record)
    assert (folder / "report.html").read_text(encoding="utf-8") == to_html(record)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(sample.minimal(), tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(sample.realistic(), tmp_path)
    assert load(tmp_path) == sample.minimal()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError):
        save(sample.minimal(), tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]


def test_write_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "x.txt", "ρ ·\nE\n")
    assert (tmp_path / "a" / "x.txt").read_bytes() == "ρ ·\nE\n".encode()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "expected record, came list"),
        (b"{}", "schema: expected text, came nothing"),
        (b'{"schema": "intertwiner.audit/9"}', "expected 'intertwiner.audit/1'"),
    ],
)
def test_a_file_that_is_no_audit_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "audit.json").write_bytes(content)
    with pytest.raises(CorruptFile, match=r"audit\.json") as caught:
        load(tmp_path)
    assert complaint in str(caught.value)
