"""The noun image: the store's verbs in Docker's shapes, registries, looks into layers (docs/store.md)."""
