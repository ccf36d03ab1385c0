"""Reading archives from strangers: decompression, tar headers, and unpacking into a directory.

Knows nothing of images. Never `tarfile`'s reader: every byte of an archive is hostile until checked.
"""
