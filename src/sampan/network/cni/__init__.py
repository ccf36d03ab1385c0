"""CNI: networks that other people's plugins make (docs/networks.md, "CNI")."""
