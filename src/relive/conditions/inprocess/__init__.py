"""Conditions decided inside the process, by compiled stubs."""
