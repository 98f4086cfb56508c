"""The same function without redundant neurons: copies, dead neurons, opposite pairs, flips, and the even form."""
