"""Reports: records of runs, and the published numbers, as data frames and tables. Needs no torch."""
