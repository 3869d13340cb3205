"""Questions a second, what commands cost to start, and what sweeps and shared prefixes save."""
