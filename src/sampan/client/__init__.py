"""The typed API client, for users and for our command line. Never imports the engine."""
