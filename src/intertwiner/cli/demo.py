"""``intertwiner demo``: audits the bundled networks, rewrites one, and writes a report each and a page over all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intertwiner.cli.audit import cannot_write, require_folder, tolerant_output
from intertwiner.cli.exits import PROVED, say
from intertwiner.cli.terminal import columns, progress

if TYPE_CHECKING:
    from intertwiner.report.overview import Entry

ABOUT = (
    "Eight small networks that come with the library, each audited under the symmetry of its task: trained ones whose "
    "symmetry is only nearly there, planted ones whose action was hidden on purpose and has to be found again, and one "
    "without any symmetry. Every name leads to its full report. One convolutional network is rewritten as well, so "
    "that every layer is exactly equivariant."
)
TWIN_OF = "shapes-conv"
BUDGET = 0.5
TWIN = "twin"
NO_WEIGHTS = "The demo keeps the page only: iw.rewrite(..).save(folder) keeps the twin."


def run_demo(out: Path) -> int:
    """Audit every bundled network; all files are written at the end, together or not at all."""
    require_folder(out)
    from intertwiner import bundled

    tolerant_output()
    start, entries = time.perf_counter(), []
    print(f"{'network':<17}{'group':<7}{'verdict':<26}{'defect':>9}{'floor':>10}{'seconds':>9}", flush=True)
    for name in progress(bundled.names(), "demo"):
        entry = _audited(name)
        entries.append(entry)
        print(_row(entry.record, name), flush=True)
    twins = {name: _twin_record(name) for name in bundled.names() if name == TWIN_OF}
    for name, record in twins.items():
        print(_twin_line(name, record), flush=True)
    entries = [replace(e, twin=f"{e.name}/{TWIN}.html" if e.name in twins else "") for e in entries]
    page = _write(out, entries, twins)
    print(f"\n{len(entries)} networks in {time.perf_counter() - start:.1f} s: open {page} in a browser")
    return PROVED


def _audited(name: str) -> Entry:
    from intertwiner import bundled
    from intertwiner.audit import audit
    from intertwiner.report.overview import Entry

    network = bundled.load(name)
    found = audit(network.module, network.symmetry, network.data, source=f"bundled: {name}")
    facts = found.record["network"] | {"name": name}
    return Entry(name, f"{name}/report.html", {**found.record, "network": facts}, network.description)


def _row(record: Any, name: str) -> str:
    from intertwiner.report.words import decided, number

    defect = record["defect"] or {}
    floors = [row["noise_floor"] or 0.0 for row in (defect.get("generators") or {}).values()]
    seconds = sum(s or 0.0 for s in record["seconds"].values())
    cells = (number(defect.get("worst")), number(max(floors, default=None)), f"{seconds:.1f}")
    return columns((name, record["group"]["name"], decided(record["verdict"]), *cells), (17, 7, 26, -9, -10, -9))


def _twin_record(name: str) -> dict[str, Any]:
    """The record of a rewrite within ``BUDGET``."""
    from intertwiner import bundled
    from intertwiner.cli.rewrite import environment, layer_names
    from intertwiner.network import trace
    from intertwiner.report.rewrite_fields import SCHEMA
    from intertwiner.rewrite import rewrite

    net = bundled.load(name)
    network = trace(net.module, (net.data[:2],), name=name)
    certificate = rewrite(network, net.symmetry, net.data, BUDGET).certificate
    return {
        "schema": SCHEMA,
        "network": {"name": name, "dtype": certificate.dtype, "layers": layer_names(network)},
        "symmetry": {"input": str(net.symmetry.on_input), "output": str(net.symmetry.on_output)},
        "data": {"source": f"bundled: {name}"},
        "twin": {"budget": BUDGET, "certificate": certificate.to_json()},
        "environment": environment(),
        "notes": [NO_WEIGHTS],
    }


def _twin_line(name: str, record: Any) -> str:
    from intertwiner.report.rewrite_rows import relative_cost, times, widths
    from intertwiner.report.words import decided, number

    found = record["twin"]["certificate"]
    before, after, cost = widths(found["original_widths"]), widths(found["widths"]), times(relative_cost(found))
    return (
        f"\ntwin of {name}: {decided(found['verdict'])}; {before} became {after}, {cost} the cost;"
        f"\n  defect {number(found['original_defect'])} became {number(found['defect_float32'])}"
    )


def _write(out: Path, entries: list[Entry], twins: Mapping[str, Any]) -> Path:
    from intertwiner.report import to_html, to_json, write_files
    from intertwiner.report.overview import to_overview
    from intertwiner.report.rewrite_fields import rewrite_json
    from intertwiner.report.rewrite_page import to_rewrite_html

    page = out / "report.html"
    texts: dict[Path | str, str] = {}
    for entry in entries:
        texts[out / entry.name / "audit.json"] = to_json(entry.record)
        texts[out / entry.name / "report.html"] = to_html(entry.record)
    for name, record in twins.items():
        texts[out / name / f"{TWIN}.json"] = rewrite_json(record)
        texts[out / name / f"{TWIN}.html"] = to_rewrite_html(record)
    texts[page] = to_overview(entries, "intertwiner: the bundled networks", about=ABOUT)
    try:
        write_files(texts)
    except OSError as error:
        raise cannot_write(out, error) from error
    say(f"written: {page} and {len(entries)} reports below it")
    return page
