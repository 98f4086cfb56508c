"""Floor 0: exact and graded numerics that every other room stands on. No torch."""
