"""Compose projects against the client."""
