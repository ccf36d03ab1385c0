"""Long runs for real: many cycles, many kills. `tools/campaign --help`; not part of `./test`."""
