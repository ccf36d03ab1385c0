"""sampand: the Docker API door. Translates; holds no rules of its own."""
