"""The types say what the published description of the API says, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from sampan.spec import docker

SPEC = Path(__file__).parents[3].parent / "shared/specs/docker-engine-api-v1.51.yaml"
pytestmark = pytest.mark.skipif(not SPEC.exists(), reason="the API description is not beside this checkout")

# Fields of the description that are left out on purpose, by definition.
LEFT_OUT = {
    "ContainerSummary": {"ImageManifestDescriptor"},  # of the containerd image store alone
    "ContainerInspectResponse": {"ImageManifestDescriptor"},
    "ImageSummary": {"Manifests", "Descriptor"},
    "ImageInspect": {"Manifests", "Descriptor", "OsVersion"},
    "SystemInfo": {
        "Containerd",
        "DiscoveredDevices",
        "FirewallBackend",
        "KernelMemoryTCP",
        "ProductLicense",
    },
    "Network": {"Peers"},
    "Volume": {"ClusterVolume"},
    "SwarmInfo": {"Cluster", "Managers", "Nodes"},
    "ContainerMemoryStats": {"commitbytes", "commitpeakbytes", "privateworkingset"},  # Windows
    "ContainerNetworkStats": {"endpoint_id", "instance_id"},  # Windows
    "ContainerStorageStats": {
        "read_count_normalized",
        "read_size_bytes",
        "write_count_normalized",
        "write_size_bytes",
    },
}
TYPES: dict[str, type[msgspec.Struct]] = {
    "BuildCache": docker.BuildCache,
    "ContainerBlkioStats": docker.BlkioStats,
    "ContainerCPUStats": docker.CpuStats,
    "ContainerCPUUsage": docker.CpuUsage,
    "ContainerConfig": docker.Config,
    "ContainerCreateResponse": docker.CreateResponse,
    "ContainerInspectResponse": docker.ContainerInspect,
    "ContainerMemoryStats": docker.MemoryStats,
    "ContainerNetworkStats": docker.InterfaceStats,
    "ContainerState": docker.State,
    "ContainerStatsResponse": docker.ContainerStats,
    "ContainerSummary": docker.ContainerSummary,
    "ContainerThrottlingData": docker.ThrottlingData,
    "ContainerTopResponse": docker.ContainerTop,
    "ContainerWaitResponse": docker.WaitResponse,
    "DeviceMapping": docker.DeviceMapping,
    "DeviceRequest": docker.DeviceRequest,
    "DriverData": docker.GraphDriver,
    "EndpointIPAMConfig": docker.EndpointIPAMConfig,
    "EndpointSettings": docker.EndpointSettings,
    "EventActor": docker.Actor,
    "Health": docker.Health,
    "HealthConfig": docker.HealthConfig,
    "HealthcheckResult": docker.HealthcheckResult,
    "HostConfig": docker.HostConfig,
    "IPAM": docker.IPAM,
    "IPAMConfig": docker.IPAMPool,
    "ImageDeleteResponseItem": docker.ImageDelete,
    "ImageHistoryResponseItem": docker.HistoryItem,
    "ImageInspect": docker.ImageInspect,
    "ImageSummary": docker.ImageSummary,
    "IndexInfo": docker.IndexInfo,
    "Mount": docker.Mount,
    "MountPoint": docker.MountPoint,
    "Network": docker.Network,
    "NetworkContainer": docker.NetworkContainer,
    "NetworkSettings": docker.NetworkSettings,
    "NetworkingConfig": docker.NetworkingConfig,
    "PluginsInfo": docker.PluginsInfo,
    "Port": docker.Port,
    "PortBinding": docker.PortBinding,
    "Resources": docker.Resources,
    "RestartPolicy": docker.RestartPolicy,
    "SystemInfo": docker.Info,
    "SystemVersion": docker.Version,
    "ThrottleDevice": docker.ThrottleDevice,
    "Volume": docker.Volume,
    "VolumeCreateOptions": docker.VolumeCreate,
    "VolumeListResponse": docker.VolumeList,
}


def properties_of(definitions: dict[str, Any], node: dict[str, Any]) -> Iterator[str]:
    """Yield the property names of a definition, those of its `allOf` parts included."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    yield from node.get("properties", {})
    for part in node.get("allOf", ()):
        yield from properties_of(definitions, part)


@pytest.fixture(scope="module")
def definitions() -> dict[str, Any]:
    return yaml.load(SPEC.read_text(), yaml.CSafeLoader)["definitions"]  # type: ignore[no-any-return]


OURS: dict[str, set[str]] = {
    "ContainerSummary": {"Zombies"},  # docs/restarts-and-health.md
    "HealthConfig": {"OnFailure"},  # the same
    "ImageSummary": {"VirtualSize"},  # for clients of versions that still read it
}


@pytest.mark.parametrize("name", sorted(TYPES))
def test_fields(definitions: dict[str, Any], name: str) -> None:
    described = set(properties_of(definitions, definitions[name]))
    ours = set(TYPES[name].__struct_encode_fields__)
    assert described - ours == LEFT_OUT.get(name, set())
    assert ours - described == OURS.get(name, set())
