"""Further programs in a running container, and clients attached to what runs (docs/engine.md)."""
