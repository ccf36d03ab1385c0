"""An OCI bundle becomes a process: parent, child, launcher, shim. Lean. Knows nothing of images."""
