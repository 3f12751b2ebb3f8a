"""The harness of scripts/study: plans measurements, drives server and load, reads the figures.

Data flows one way: plan -> measure (server_under_test, wrk, perf, window) -> results.journal.
"""
