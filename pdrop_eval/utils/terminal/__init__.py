"""What a person at a terminal meets: commands, messages, logs and signals."""
