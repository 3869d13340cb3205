"""What a training is asked for: settings, typed, checked, planned."""
