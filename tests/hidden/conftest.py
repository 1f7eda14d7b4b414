"""Puts this folder on the import path, so that suites may `from forward_mode import connected`."""
