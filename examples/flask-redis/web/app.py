"""A page that counts its visits in Redis, which is at the name `cache` of the network."""

import flask
import redis

app = flask.Flask(__name__)
cache = redis.Redis(host="cache", socket_timeout=5)


@app.get("/")
def index() -> str:
    """Count one visit and say which it is."""
    return f"visit {cache.incr('visits')}\n"
