"""How a container comes, runs on and goes: create to removal, restarts, recovery (docs/engine.md)."""
