"""What every package uses: errors, files, paths, logging, validation."""
