"""Looking at what there is: lists, inspect, events, stats, disk usage, check (docs/observing.md)."""
