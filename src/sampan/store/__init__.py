"""Images and root file systems on disk: blobs, references, layers, snapshots, leases.

Never touches the network.
"""
