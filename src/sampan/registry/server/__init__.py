"""A registry (OCI distribution 1.1) over the store: HTTP in front of repositories. No client, no engine."""
