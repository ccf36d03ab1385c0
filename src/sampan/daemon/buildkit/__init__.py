"""BuildKit's doors, `POST /grpc` and `POST /session`: gRPC both ways, for buildx and compose.

Translates only: what a build is, `sampan.build` says. Nothing here is imported before a client asks. Design:
docs/buildkit.md.
"""
