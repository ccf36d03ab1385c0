"""Images in the Engine API."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from sampan.spec.docker.common import ZERO_TIME, Empty, StrList, StrMap
from sampan.spec.docker.containers import GraphDriver, HealthConfig


class Platform(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A platform as OCI writes it."""

    architecture: str
    os: str
    variant: str = ""


class Descriptor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reference to content, as OCI writes it."""

    mediaType: str
    digest: str
    size: int
    platform: Platform | None = None


class AuthConfig(Struct, frozen=True, kw_only=True):
    """Body of POST /auth. Source: Engine API, AuthConfig."""

    username: str = ""
    password: str = ""
    serveraddress: str = ""
    identitytoken: str = ""


class AuthAnswer(Struct, frozen=True, kw_only=True):
    """Answer to POST /auth; IdentityToken stands for the password from then on, if it is not empty."""

    Status: str = "Login Succeeded"
    IdentityToken: str = ""


class DistributionInspect(Struct, frozen=True, kw_only=True):
    """Answer to GET /distribution/{name}/json."""

    Descriptor: Descriptor
    Platforms: list[Platform] = field(default_factory=list)


class ImageSummary(Struct, frozen=True, kw_only=True):
    """One entry of GET /images/json. Created in unix seconds; SharedSize -1: not computed."""

    Id: str
    ParentId: str = ""
    RepoTags: StrList = field(default_factory=list)
    RepoDigests: StrList = field(default_factory=list)
    Created: int
    Size: int
    SharedSize: int = -1
    VirtualSize: int | UnsetType = UNSET  # the same as Size, for clients below 1.44
    Labels: StrMap | None = None
    Containers: int = -1


class ImageConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an image says about the containers made of it."""

    User: str = ""
    ExposedPorts: dict[str, Empty] | None = None
    Env: StrList | None = None
    Cmd: StrList | None = None
    Healthcheck: HealthConfig | None = None
    ArgsEscaped: bool = False
    Volumes: dict[str, Empty] | None = None
    WorkingDir: str = ""
    Entrypoint: StrList | None = None
    OnBuild: StrList | None = None
    Labels: StrMap | None = None
    StopSignal: str = ""
    Shell: StrList | None = None


class RootFS(Struct, frozen=True, kw_only=True):
    """Layers as diff ids, lowest first."""

    Type: str = "layers"
    Layers: StrList = field(default_factory=list)


class ImageMetadata(Struct, frozen=True, kw_only=True):
    """What this machine knows of the image."""

    LastTagTime: str = ZERO_TIME


class ImageInspect(Struct, frozen=True, kw_only=True):
    """Answer to GET /images/{name}/json."""

    Id: str
    RepoTags: StrList = field(default_factory=list)
    RepoDigests: StrList = field(default_factory=list)
    Parent: str = ""
    Comment: str = ""
    Created: str | UnsetType = UNSET
    DockerVersion: str = ""
    Author: str = ""
    Config: ImageConfig
    Architecture: str
    Variant: str | UnsetType = UNSET
    Os: str
    Size: int
    GraphDriver: GraphDriver
    RootFS: RootFS
    Metadata: ImageMetadata = field(default_factory=ImageMetadata)


class HistoryItem(Struct, frozen=True, kw_only=True):
    """One step of GET /images/{name}/history, newest first. Created in unix seconds."""

    Id: str
    Created: int
    CreatedBy: str
    Tags: StrList | None = None
    Size: int = 0
    Comment: str = ""


class SearchResult(Struct, frozen=True, kw_only=True):
    """One line of GET /images/search."""

    star_count: int
    is_official: bool
    name: str
    is_automated: bool = False  # nobody has these any more
    description: str


class ImageDelete(Struct, frozen=True, kw_only=True):
    """One line of DELETE /images/{name}: exactly one of the two."""

    Untagged: str | UnsetType = UNSET
    Deleted: str | UnsetType = UNSET


class ImagesPrune(Struct, frozen=True, kw_only=True):
    """Answer to POST /images/prune."""

    ImagesDeleted: list[ImageDelete] = field(default_factory=list)
    SpaceReclaimed: int = 0
