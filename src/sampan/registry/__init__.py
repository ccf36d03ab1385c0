"""Pull, push, auth, and the registry server."""
