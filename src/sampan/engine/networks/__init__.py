"""The noun network, and containers on networks: wishes, starts, names, files (docs/networks.md)."""
