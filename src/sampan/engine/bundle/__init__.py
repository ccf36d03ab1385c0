"""From a Docker container configuration to an OCI `config.json`, as pure functions.

Everything that must be asked of the machine (devices, users, namespaces to join) is in `BundlePlan`
before; nothing here does I/O. What cannot be honoured is refused; what is honoured in part is warned of.
"""
