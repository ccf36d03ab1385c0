"""`debian:<suite>-slim` made by mmdebstrap, without documentation as the image of that name on Docker Hub."""

from __future__ import annotations

import os
import re
import tempfile
from datetime import UTC, datetime
from typing import BinaryIO, Final

from sampan.errors import Forbidden, InvalidArgument
from sampan.spec.image import ContainerDefaults, History, ImageConfig, RootFS
from sampan.store.bootstrap.programs import Say, get_program, run
from sampan.store.imagewriter import write_image
from sampan.store.platforms import host_platform
from sampan.store.references import parse_tagged

DEFAULT_SUITE: Final = "bookworm"
_SUITE = re.compile(r"[a-z]+")
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What debuerreotype leaves out of the -slim images (its .slimify-excludes).
_LEFT_OUT: Final = (
    "/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*",
    "/usr/share/groff/*", "/usr/share/lintian/*", "/usr/share/linda/*",
)  # fmt: skip
_KEPT: Final = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")
# apt inside of the image: small and quiet, and no services are started when packages are installed.
_HOOKS: Final = (
    'printf "#!/bin/sh\\nexit 101\\n" > "$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d"',
    'echo "force-unsafe-io" > "$1/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"',
    'echo "APT::Install-Recommends \\"false\\";" > "$1/etc/apt/apt.conf.d/docker-no-recommends"',
    'echo "Acquire::Languages \\"none\\";" > "$1/etc/apt/apt.conf.d/docker-no-languages"',
    'rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/*',
    'rm -f "$1/etc/hostname" "$1/etc/resolv.conf"',
)


def debian(suite: str = DEFAULT_SUITE, *, say: Say | None = None) -> BinaryIO:
    """Return an archive of `debian:<suite>-slim`, made by mmdebstrap; root only; the caller closes it.

    The default suite is also `debian:latest`, `debian:stable-slim` and `debian:<suite>`.

    Raises:
        InvalidArgument: suite is no name of one.
        Unavailable: mmdebstrap is missing or fails.
    """
    if _SUITE.fullmatch(suite) is None:
        raise InvalidArgument(f"{suite!r} is no Debian suite", hint="give a name such as bookworm or trixie")
    mmdebstrap = get_program("mmdebstrap", package="mmdebstrap")
    if os.geteuid() != 0:
        raise Forbidden("making a Debian image needs root")
    if say:
        say(f"building debian:{suite}-slim with mmdebstrap, which downloads about 30 MB")
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)  # one image a day
    with tempfile.TemporaryDirectory(prefix="sampan-debian-") as folder:
        run(
            [mmdebstrap, *_options(), suite, "root.tar"],
            folder=folder,
            environment={"SOURCE_DATE_EPOCH": str(int(now.timestamp()))},
        )
        return _archive(f"{folder}/root.tar", suite, now)


def _options() -> list[str]:
    options = ["--quiet", "--mode=root", "--variant=minbase", "--format=tar"]
    options += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    options += [f"--dpkgopt=path-include={pattern}" for pattern in _KEPT]
    options += [f"--customize-hook={hook}" for hook in _HOOKS]
    return options


def _archive(path: str, suite: str, created: datetime) -> BinaryIO:
    platform = host_platform()
    stamp = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    config = ImageConfig(
        architecture=platform.architecture,
        variant=platform.variant,
        os="linux",
        created=stamp,
        rootfs=RootFS(),
        config=ContainerDefaults(Cmd=["bash"], Env=[_PATH]),
        history=[
            History(created=stamp, created_by=f"sampan image bootstrap debian:{suite}", comment="mmdebstrap")
        ],
    )
    names = [f"debian:{suite}-slim"]
    if suite == DEFAULT_SUITE:
        names += ["debian:latest", "debian:stable-slim", f"debian:{suite}"]
    target = tempfile.TemporaryFile()
    with open(path, "rb") as layer:
        write_image(
            target,
            config=config,
            layers=[layer],
            references=[parse_tagged(name) for name in names],
            mtime=int(created.timestamp()),
        )
    target.seek(0)
    return target
