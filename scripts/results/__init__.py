"""What a study leaves behind, as both sides of it know it.

scripts/harness measures and writes, scripts/report reads and shows; neither knows the other. Here
stands what they share: what a cell is, the fields of a sample, the files of a result folder, the
owner groups of a profile's frames, the errors that end a command, and the statistics.
"""
