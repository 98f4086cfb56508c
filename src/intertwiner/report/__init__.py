"""Reports: a plain audit record becomes a terminal table, JSON, or one self-contained HTML file.

The room reads records and knows no other room; see docs/audit-schema.md for the keys.
"""

from intertwiner.report.fields import SCHEMA
from intertwiner.report.figures import Claim, benchmark_arguments, figures
from intertwiner.report.html import to_html
from intertwiner.report.schema import document, plain, validate
from intertwiner.report.text import print_text, to_text
from intertwiner.report.write import load, save, to_json, write_files, write_text

__all__ = [
    "to_text",
    "print_text",
    "to_html",
    "to_json",
    "save",
    "load",
    "validate",
    "plain",
    "document",
    "SCHEMA",
    "write_files",
    "write_text",
    "Claim",
    "figures",
    "benchmark_arguments",
]
