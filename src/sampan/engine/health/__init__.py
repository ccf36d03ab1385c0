"""Health checks: who runs them, what is kept, what follows (docs/restarts-and-health.md)."""
