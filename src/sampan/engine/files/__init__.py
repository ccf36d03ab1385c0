"""Files of containers: copied, compared, exported, committed; users by their own files (docs/files.md)."""
