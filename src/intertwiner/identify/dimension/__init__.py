"""The functional dimension: exact ranks at certified pieces, and a name for every null direction."""
