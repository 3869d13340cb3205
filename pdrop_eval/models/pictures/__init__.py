"""Pictures: opened, cut into tiles, and where their tokens lie."""
