"""The generated blocks of the README and results/README.md."""
