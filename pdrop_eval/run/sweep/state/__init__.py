"""What is known of a sweep while it runs: on disk, for other shells and machines, and in its driver."""
