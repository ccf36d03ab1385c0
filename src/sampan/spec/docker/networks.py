"""Networks and volumes in the Engine API."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from sampan.spec.docker.common import ZERO_TIME, StrList, StrMap
from sampan.spec.docker.containers import EndpointSettings


class IPAMPool(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One range of addresses."""

    Subnet: str = ""
    IPRange: str = ""
    Gateway: str = ""
    AuxiliaryAddresses: StrMap = field(default_factory=dict)


class IPAM(Struct, frozen=True, kw_only=True):
    """The addresses of a network."""

    Driver: str = "default"
    Options: StrMap | None = None
    Config: list[IPAMPool] = field(default_factory=list)


class ConfigReference(Struct, frozen=True, kw_only=True):
    """The network another one takes its configuration from."""

    Network: str = ""


class NetworkContainer(Struct, frozen=True, kw_only=True):
    """A container in a network; addresses with their prefix length."""

    Name: str
    EndpointID: str = ""
    MacAddress: str = ""
    IPv4Address: str = ""
    IPv6Address: str = ""


class Network(Struct, frozen=True, kw_only=True):
    """Answer to GET /networks/{id}; Containers by container id."""

    Name: str
    Id: str
    Created: str = ZERO_TIME
    Scope: str = "local"
    Driver: str
    EnableIPv4: bool = True
    EnableIPv6: bool = False
    IPAM: IPAM = field(default_factory=IPAM)
    Internal: bool = False
    Attachable: bool = False
    Ingress: bool = False
    ConfigFrom: ConfigReference = field(default_factory=ConfigReference)
    ConfigOnly: bool = False
    Containers: dict[str, NetworkContainer] = field(default_factory=dict)
    Options: StrMap = field(default_factory=dict)
    Labels: StrMap = field(default_factory=dict)


class NetworkCreate(Struct, frozen=True, kw_only=True):
    """Body of POST /networks/create."""

    Name: str = ""
    CheckDuplicate: bool = False  # obsolete: a name is always the only one
    Driver: str = ""
    Scope: str = ""
    Internal: bool = False
    Attachable: bool = False
    Ingress: bool = False
    ConfigOnly: bool = False
    ConfigFrom: ConfigReference | None = None
    EnableIPv4: bool | None = None
    EnableIPv6: bool | None = None
    IPAM: IPAM | None = None
    Options: StrMap = field(default_factory=dict)
    Labels: StrMap = field(default_factory=dict)


class NetworkCreated(Struct, frozen=True, kw_only=True):
    """Answer to POST /networks/create."""

    Id: str
    Warning: str = ""


class NetworkConnect(Struct, frozen=True, kw_only=True):
    """Body of POST /networks/{id}/connect."""

    Container: str = ""
    EndpointConfig: EndpointSettings | None = None


class NetworkDisconnect(Struct, frozen=True, kw_only=True):
    """Body of POST /networks/{id}/disconnect."""

    Container: str = ""
    Force: bool = False


class VolumeUsage(Struct, frozen=True, kw_only=True):
    """Bytes and users of a volume; -1: not computed."""

    Size: int = -1
    RefCount: int = -1


class VolumeCreate(Struct, frozen=True, kw_only=True):
    """Body of POST /volumes/create; Name "": an anonymous one."""

    Name: str = ""
    Driver: str = ""
    DriverOpts: StrMap = field(default_factory=dict)
    Labels: StrMap = field(default_factory=dict)
    ClusterVolumeSpec: dict[str, object] | None = None


class Volume(Struct, frozen=True, kw_only=True):
    """Answer to GET /volumes/{name}; UsageData only in the disk usage, Status only from a plugin."""

    Name: str
    Driver: str = "local"
    Mountpoint: str
    CreatedAt: str
    Status: dict[str, object] | UnsetType = UNSET
    Labels: StrMap | None = None
    Scope: str = "local"
    Options: StrMap | None = None
    UsageData: VolumeUsage | UnsetType = UNSET


class VolumeList(Struct, frozen=True, kw_only=True):
    """Answer to GET /volumes."""

    Volumes: list[Volume] = field(default_factory=list)
    Warnings: StrList | None = None


class VolumesPrune(Struct, frozen=True, kw_only=True):
    """Answer to POST /volumes/prune."""

    VolumesDeleted: StrList = field(default_factory=list)
    SpaceReclaimed: int = 0
