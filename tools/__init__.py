"""What only this project runs; not part of the wheel."""
