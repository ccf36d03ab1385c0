"""Benchmarks against the real binaries of docker.io, podman, runc and crun."""
