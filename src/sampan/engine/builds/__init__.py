"""The noun build: `sampan.build` over this engine, and what it keeps (docs/build.md)."""
