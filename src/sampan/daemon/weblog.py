"""What aiohttp says goes to our own log: a malformed request is the client's affair, not a trace."""

from __future__ import annotations

import logging

from sampan import log


class _Forward(logging.Handler):
    """Writes each record as one debug event."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's message and the error that came with it."""
        error = record.exc_info[1] if record.exc_info else None
        log.debug("http", message=record.getMessage(), error=repr(error) if error else "")


def make_logger() -> logging.Logger:
    """Return a logger for aiohttp's server; it is not in the tree of loggers."""
    logger = logging.Logger("sampan.http")
    logger.addHandler(_Forward())
    return logger
