"""The zygote that forks shims, and the shim. Lean.

A shim is the parent of a container's init and owns its stdio, log and exit record.
"""
