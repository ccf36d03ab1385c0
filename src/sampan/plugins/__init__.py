"""Docker's plugin protocol: finding plugins on this machine and calling them. Keeps nothing on disk."""
