"""The sampan command: parses, calls the client, prints."""
