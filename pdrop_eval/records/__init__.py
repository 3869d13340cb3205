"""Records of runs: their schema, identity, journal and store. Needs no torch."""
