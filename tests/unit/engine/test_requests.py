"""Every field that is refused, by name; every neutral value that clients send, accepted."""

from __future__ import annotations

import pytest

from sampan.engine.requests import check_platform, check_request, merge_image
from sampan.errors import InvalidArgument, NotFound, SampanError, Unsupported
from sampan.spec import docker, gojson
from sampan.spec.image import ImageConfig, RootFS

# What `docker run --rm -it busybox sh` (CLI 28.5) sends, as far as it bears on the checks.
CLI_REQUEST = b"""{"Hostname":"","Domainname":"","User":"","AttachStdin":true,"AttachStdout":true,
"AttachStderr":true,"Tty":true,"OpenStdin":true,"StdinOnce":true,"Env":null,"Cmd":["sh"],"Image":"busybox",
"Volumes":{},"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,
"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},
"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,
"ConsoleSize":[24,80],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],
"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"",
"Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"",
"UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"",
"BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],
"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,
"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,
"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":-1,"OomKillDisable":false,
"PidsLimit":0,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,
"MaskedPaths":null,"ReadonlyPaths":null},"NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,
"Links":null,"Aliases":null,"MacAddress":"","DriverOpts":null,"GwPriority":0,"NetworkID":"","EndpointID":"",
"Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,
"DNSNames":null}}}}"""


def test_what_the_docker_cli_sends_is_accepted() -> None:
    check_request(gojson.decode(CLI_REQUEST, docker.ContainerCreate))


def host(**fields: object) -> docker.ContainerCreate:
    config = docker.HostConfig(**fields)  # type: ignore[arg-type]  # tables below
    return docker.ContainerCreate(HostConfig=config)


NOT_YET = {
    "UsernsMode": "private",
    "Cgroup": "container:x",
    "CpuCount": 1,
    "CpuPercent": 5,
    "IOMaximumIOps": 5,
    "IOMaximumBandwidth": 5,
}


@pytest.mark.parametrize(
    ("options", "match"), [({"size": "much"}, "invalid size: 'much'"), ({"colour": "1"}, "'colour'")]
)
def test_a_limit_of_the_root_that_is_none(options: dict[str, str], match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        check_request(host(StorageOpt=options))


@pytest.mark.parametrize("field", NOT_YET)
def test_not_supported_yet(field: str) -> None:
    with pytest.raises(Unsupported, match=f"not supported yet: {field}"):
        check_request(host(**{field: NOT_YET[field]}))


@pytest.mark.parametrize(
    ("request_", "error", "match"),
    [
        (host(OomScoreAdj=1001), InvalidArgument, "range for oom score adj is"),
        (host(ShmSize=-1), InvalidArgument, "SHM size can not be less than 0"),
        (host(Isolation="hyperv"), InvalidArgument, "isolation"),
        (host(CgroupParent="/a/../../b"), InvalidArgument, "must not climb"),
        (host(ExtraHosts=["nocolon"]), InvalidArgument, "bad format for add-host"),
        (host(ExtraHosts=["a:nonsense"]), InvalidArgument, "invalid IP address in add-host"),
        (host(Links=["a:b:c"]), InvalidArgument, "bad format for links: a:b:c"),
        (host(Links=["a"], NetworkMode="host"), InvalidArgument, "can't be used with links"),
        (host(ExtraHosts=["a b:1.2.3.4"]), InvalidArgument, "bad format"),
        (host(Dns=["nonsense"]), InvalidArgument, "not an IP address"),
        (host(DnsSearch=["a\nb"]), InvalidArgument, "DnsSearch"),
        (host(ConsoleSize=[1]), InvalidArgument, "ConsoleSize"),
        (
            host(DeviceRequests=[docker.DeviceRequest(Count=-1, Capabilities=[["gpu"]])]),
            InvalidArgument,
            r'could not select device driver "" with capabilities: \[\[gpu\]\]',
        ),
        (docker.ContainerCreate(Env=["=x"]), InvalidArgument, "invalid environment variable"),
        (docker.ContainerCreate(Env=["A=\0"]), InvalidArgument, "invalid environment variable"),
        (docker.ContainerCreate(WorkingDir="relative"), InvalidArgument, "needs to be an absolute path"),
        (docker.ContainerCreate(Hostname="x" * 65), InvalidArgument, "invalid hostname"),
        (docker.ContainerCreate(Hostname="a b"), InvalidArgument, "invalid hostname"),
        (docker.ContainerCreate(StopSignal="NOSUCH"), InvalidArgument, "invalid signal: NOSUCH"),
        (docker.ContainerCreate(StopTimeout=-2), InvalidArgument, "StopTimeout"),
        (docker.ContainerCreate(Labels={"": "x"}), InvalidArgument, "invalid label"),
        (docker.ContainerCreate(MacAddress="00:00:00:00:00"), InvalidArgument, "not a valid mac address"),
        (docker.ContainerCreate(OnBuild=["RUN x"]), InvalidArgument, "OnBuild"),
        (docker.ContainerCreate(ExposedPorts={"x/tcp": docker.common.Empty()}), InvalidArgument, "port spec"),
        (
            docker.ContainerCreate(Healthcheck=docker.HealthConfig(Test=["curl", "x"])),
            InvalidArgument,
            r"invalid Test \['curl', 'x'\] in Healthcheck",
        ),
        (
            docker.ContainerCreate(
                HostConfig=docker.HostConfig(NetworkMode="none"),
                NetworkingConfig=docker.NetworkingConfig(EndpointsConfig={"mine": docker.EndpointSettings()}),
            ),
            InvalidArgument,
            "cannot attach a container of network mode none to network mine",
        ),
        (
            docker.ContainerCreate(
                NetworkingConfig=docker.NetworkingConfig(
                    EndpointsConfig={"default": docker.EndpointSettings(MacAddress="01:00:00:00:00:01")}
                )
            ),
            InvalidArgument,
            "not a mac address of one interface",
        ),
        (host(PortBindings={"80/icmp": []}), InvalidArgument, "invalid port specification: '80/icmp'"),
        (
            host(PortBindings={"80/tcp": [docker.PortBinding(HostPort="9-8")]}),
            InvalidArgument,
            'invalid port specification: "9-8"',
        ),
        (
            host(PortBindings={"80/tcp": [docker.PortBinding(HostIp="nonsense")]}),
            InvalidArgument,
            "invalid IPv4 address: nonsense",
        ),
        (
            host(PortBindings={"80/tcp": [docker.PortBinding(HostIp="::x")]}),
            InvalidArgument,
            "invalid IPv6 address: ::x",
        ),
    ],
)
def test_refused(request_: docker.ContainerCreate, error: type[SampanError], match: str) -> None:
    with pytest.raises(error, match=match):
        check_request(request_)


def test_auto_remove_and_restart_policy() -> None:
    with pytest.raises(SampanError):
        check_request(host(AutoRemove=True, RestartPolicy=docker.RestartPolicy(Name="always")))


IMAGE = docker.ImageConfig(
    Entrypoint=["/entry"],
    Cmd=["default"],
    Env=["A=image", "B=image"],
    WorkingDir="srv",
    User="web",
    Labels={"a": "image", "b": "image"},
    StopSignal="INT",
    ExposedPorts={"80/tcp": docker.common.Empty()},
)


@pytest.mark.parametrize(
    ("config", "entrypoint", "command"),
    [
        pytest.param(docker.Config(), ["/entry"], ["default"], id="both of the image"),
        pytest.param(docker.Config(Cmd=["x"]), ["/entry"], ["x"], id="command given"),
        pytest.param(
            docker.Config(Entrypoint=["/e"]), ["/e"], None, id="entrypoint drops the image's command"
        ),
        pytest.param(docker.Config(Entrypoint=[""], Cmd=["x"]), [""], ["x"], id="entrypoint taken away"),
        pytest.param(docker.Config(Entrypoint=[]), [], ["default"], id="an empty list is none"),
    ],
)
def test_entrypoint_and_command(
    config: docker.Config, entrypoint: list[str], command: list[str] | None
) -> None:
    merged = merge_image(config, IMAGE, lambda _text: None)
    assert (merged.Entrypoint, merged.Cmd) == (entrypoint, command)


def test_merge() -> None:
    merged = merge_image(
        docker.Config(Env=["B=mine", "C=mine"], Labels={"b": "mine"}), IMAGE, lambda _text: None
    )
    assert merged.Env == ["A=image", "B=mine", "C=mine"]
    assert merged.Labels == {"a": "image", "b": "mine"}
    assert (merged.User, merged.WorkingDir, merged.StopSignal) == ("web", "/srv", "INT")
    assert list(merged.ExposedPorts) == ["80/tcp"]


def test_key_alone_takes_the_images_variable_away() -> None:
    assert merge_image(docker.Config(Env=["A"]), IMAGE, lambda _text: None).Env == ["B=image"]


def test_the_images_health_check_fills_what_is_left_open() -> None:
    checked = docker.HealthConfig(Test=["CMD", "true"], Interval=5, Retries=7)
    defaults = docker.ImageConfig(Healthcheck=checked)
    own = docker.Config(Healthcheck=docker.HealthConfig(Retries=9, OnFailure="kill"))
    merged = merge_image(own, defaults, lambda _text: None).Healthcheck
    assert merged == docker.HealthConfig(Test=["CMD", "true"], Interval=5, Retries=9, OnFailure="kill")
    assert merge_image(docker.Config(), defaults, lambda _text: None).Healthcheck == defaults.Healthcheck
    off = docker.Config(Healthcheck=docker.HealthConfig(Test=["NONE"]))
    assert merge_image(off, defaults, lambda _text: None).Healthcheck == off.Healthcheck


def image(architecture: str, *, os: str = "linux") -> ImageConfig:
    return ImageConfig(rootfs=RootFS(), architecture=architecture, os=os)


@pytest.mark.parametrize("platform", ["", "linux/amd64", "linux/amd64/v2", "amd64", "linux/x86_64", "linux"])
def test_platform_accepted(platform: str) -> None:
    check_platform(platform, image("amd64"), arch="amd64", image_name="x")


def test_platform_refused() -> None:
    with pytest.raises(NotFound, match="was found but does not match the specified platform"):
        check_platform("linux/arm64", image("amd64"), arch="amd64", image_name="x")
    with pytest.raises(Unsupported, match="cannot run image x of platform linux/arm64"):
        check_platform("", image("arm64"), arch="amd64", image_name="x")
    with pytest.raises(InvalidArgument, match="is no platform"):
        check_platform("a/b/c/d", image("amd64"), arch="amd64", image_name="x")
