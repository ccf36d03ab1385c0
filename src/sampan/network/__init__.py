"""Bridges, addresses, ports, firewall, DNS."""
