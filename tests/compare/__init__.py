"""The same clients against sampand and against Debian's dockerd: what differs is listed, with its reason."""
