"""The harness of scripts/study: plans measurements, drives server and load, reads the figures.

Data flows one way: plan -> measure (measured_server, wrk, perf, window) -> results.journal.
"""
