"""What a client lends its build over its session: secrets, ssh agents, credentials of registries."""

from __future__ import annotations

import base64
import json
import socket
from typing import Final

from sampan.daemon.buildkit.sessions import Session

_HUB: Final = "docker.io"
_HUB_HOST: Final = "registry-1.docker.io"  # what clients know Docker Hub's credentials by


class Lender:
    """A `build.request.Secrets` and `Agents`; used from worker threads."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, secret_id: str) -> bytes | None:
        """See `Secrets`."""
        return self._session.wait(self._session.secret(secret_id))

    def connect(self, agent_id: str) -> socket.socket | None:
        """See `Agents`."""
        if not self._session.wait(self._session.has_agent(agent_id)):
            return None
        ours, theirs = socket.socketpair()
        self._session.start(self._session.forward_agent(agent_id, ours), "an ssh agent is lent")
        return theirs

    def registry_auth(self, domain: str) -> str:
        """Return the value of `X-Registry-Auth` for a registry, by the client's credentials; "" for none."""
        host = _HUB_HOST if domain == _HUB else domain
        user, secret = self._session.wait(self._session.credentials(host))
        if not secret:
            return ""
        fields = {"username": user, "password": secret} if user else {"identitytoken": secret}
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()
