"""Logs: which driver with which options, how the shim is told, and reading back (docs/logs.md)."""
