"""The DNS server at 127.0.0.11 (docs/dns.md). Lean, but for `client` and `resolvconf`, which sampand uses."""
