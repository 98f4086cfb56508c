"""Two networks, or one in other coordinates: gauge moves, canonical forms, fingerprints, matches, alignments."""
