"""Volume plugins: the calls of Docker's `VolumeDriver` interface, typed.

Source: Docker, "Docker volume plugins", "Volume plugin protocol".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.errors import SampanError
from sampan.plugins.calling import Document, Plugin

KIND = "VolumeDriver"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginVolume:
    """What a plugin says of a volume; mountpoint "" while it is not mounted."""

    name: str
    mountpoint: str = ""
    created_at: str = ""
    status: Mapping[str, object] = field(default_factory=dict)


class VolumePlugin:
    """A plugin that keeps volumes."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def create(self, name: str, options: Mapping[str, str]) -> None:
        """Make a volume; making one that exists is up to the plugin."""
        self._call("Create", {"Name": name, "Opts": dict(options)})

    def remove(self, name: str) -> None:
        """Remove a volume with its content."""
        self._call("Remove", {"Name": name})

    def mount(self, name: str, user: str) -> str:
        """Make a volume usable and return where its files are; once for each user, before `unmount`."""
        found = self._call("Mount", {"Name": name, "ID": user}).get("Mountpoint")
        if not isinstance(found, str) or not found.startswith("/"):
            raise SampanError(f"plugin {self._plugin.name}: no mount point of volume {name!r}")
        return found

    def unmount(self, name: str, user: str) -> None:
        """A user needs the volume no more."""
        self._call("Unmount", {"Name": name, "ID": user})

    def path(self, name: str) -> str:
        """Return where a volume's files are, "" while it is not mounted."""
        return str(self._call("Path", {"Name": name}).get("Mountpoint") or "")

    def get(self, name: str) -> PluginVolume:
        """Return what the plugin knows of a volume.

        Raises:
            SampanError: it knows none of that name.
        """
        found = self._call("Get", {"Name": name}).get("Volume")
        if not isinstance(found, dict):
            raise SampanError(f"plugin {self._plugin.name} knows no volume {name!r}")
        return _volume(found)

    def list(self) -> list[PluginVolume]:
        """Return all volumes of the plugin."""
        found = self._call("List", {}).get("Volumes")
        return [_volume(item) for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def scope(self) -> str:
        """Return `local` or `global`; an older plugin that cannot say is local."""
        try:
            found = self._plugin.call(f"/{KIND}.Capabilities", {}, retry=False).get("Capabilities")
        except SampanError:
            return "local"
        scope = str(found.get("Scope") or "").lower() if isinstance(found, dict) else ""
        return scope if scope in ("local", "global") else "local"

    def _call(self, method: str, document: Document) -> Document:
        return self._plugin.call(f"/{KIND}.{method}", document)


def _volume(document: Mapping[str, object]) -> PluginVolume:
    status = document.get("Status")
    return PluginVolume(
        name=str(document.get("Name") or ""),
        mountpoint=str(document.get("Mountpoint") or ""),
        created_at=str(document.get("CreatedAt") or ""),
        status=status if isinstance(status, dict) else {},
    )
