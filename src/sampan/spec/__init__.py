"""Types of outside documents: OCI, Docker API. No files, no sockets, no clock."""
