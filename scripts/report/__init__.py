"""The report of a result folder, and the comparison of two: build.report, compare.compare."""
