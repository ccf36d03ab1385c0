"""The use cases: containers, execs, images, events, logs. Combines the planks.

The only place that does. Synchronous and thread-safe; knows no HTTP.
"""
