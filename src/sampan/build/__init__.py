"""Dockerfile to graph to layers (docs/build.md). Knows no engine and no HTTP: it asks them by `host.Host`."""
