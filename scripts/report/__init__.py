"""The report of a results folder, and the comparison of two: build.report, compare.compare."""
