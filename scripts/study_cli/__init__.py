"""The command line of scripts/study, above harness and report: it alone knows both."""
