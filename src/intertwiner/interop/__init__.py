"""Bridges to other libraries: each needs its extra, and nothing else in the package imports them."""
