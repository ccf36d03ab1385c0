"""The commands of `sampan`: one row each, the source of parsing, help and completion. Lean (decision 0002).

A path is `noun verb`, or one word. Aliases are further paths of the same command. `flags` names a table as
`module:NAME` in this package, `handler` a function as `module:function`: each is loaded when it is needed.
"""

from __future__ import annotations

from sampan.lean import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.flags import Group

    # path, aliases, arguments, least and most (-1: any) number of them, handler, flags, summary
    CommandRow = tuple[str, tuple[str, ...], str, int, int, str, str, str]

# fmt: off
COMMANDS: tuple[CommandRow, ...] = (
    ("container run", ("run",), "IMAGE [COMMAND] [ARG...]", 1, -1,
     "run:run", "run_flags:RUN", "Make a container from an image and run a command in it"),
    ("container create", ("create",), "IMAGE [COMMAND] [ARG...]", 1, -1,
     "run:create", "run_flags:CREATE", "Make a container, but do not start it"),
    ("container exec", ("exec",), "CONTAINER COMMAND [ARG...]", 2, -1,
     "execute:execute", "flag_table:EXEC", "Run a command in a running container"),
    ("container ls", ("ps", "container ps", "container list"), "", 0, 0,
     "ps:ps", "flag_table:PS", "List containers"),
    ("container logs", ("logs",), "CONTAINER", 1, 1,
     "logs:logs", "flag_table:LOGS", "Show what a container has written"),
    ("container attach", ("attach",), "CONTAINER", 1, 1,
     "attach:attach", "flag_table:ATTACH", "Connect this terminal to a running container"),
    ("container start", ("start",), "CONTAINER [CONTAINER...]", 1, -1,
     "attach:start", "flag_table:START", "Start containers that were made or have stopped"),
    ("container stop", ("stop",), "CONTAINER [CONTAINER...]", 1, -1,
     "lifecycle:stop", "flag_table:STOP_NOW", "Ask containers to end, and end them after a while"),
    ("container restart", ("restart",), "CONTAINER [CONTAINER...]", 1, -1,
     "lifecycle:restart", "flag_table:STOP", "Stop containers and start them again"),
    ("container kill", ("kill",), "CONTAINER [CONTAINER...]", 1, -1,
     "lifecycle:kill", "flag_table:KILL", "Send a signal to containers, SIGKILL if none is named"),
    ("container rm", ("rm", "container remove"), "CONTAINER [CONTAINER...]", 1, -1,
     "lifecycle:remove", "flag_table:RM", "Remove containers"),
    ("container pause", ("pause",), "CONTAINER [CONTAINER...]", 1, -1,
     "lifecycle:pause", "flag_table:NONE", "Freeze all processes of containers"),
    ("container unpause", ("unpause",), "CONTAINER [CONTAINER...]", 1, -1,
     "lifecycle:unpause", "flag_table:NONE", "Let frozen containers go on"),
    ("container update", ("update",), "CONTAINER [CONTAINER...]", 1, -1,
     "update:update", "flag_table:UPDATE", "Change limits, restart policy or health check of containers"),
    ("container wait", ("wait",), "CONTAINER [CONTAINER...]", 1, -1,
     "lifecycle:wait", "flag_table:WAIT", "Wait until containers stop, and print their exit codes"),
    ("container rename", ("rename",), "CONTAINER NEW_NAME", 2, 2,
     "lifecycle:rename", "flag_table:NONE", "Give a container another name"),
    ("container top", ("top",), "CONTAINER [PS OPTIONS]", 1, -1,
     "look:top", "flag_table:NONE", "List the processes of a container"),
    ("container stats", ("stats",), "[CONTAINER...]", 0, -1,
     "stats:stats", "flag_table:STATS", "Show what containers use: CPU, memory, network, disks"),
    ("container port", ("port",), "CONTAINER [PRIVATE_PORT[/PROTO]]", 1, 2,
     "look:port", "flag_table:NONE", "List the published ports of a container"),
    ("container prune", (), "", 0, 0,
     "prune:containers", "flag_table:PRUNE", "Remove all containers that do not run"),
    ("container cp", ("cp",), "CONTAINER:SOURCE DESTINATION|- or SOURCE|- CONTAINER:DESTINATION", 2, 2,
     "copying:copy", "flag_table:CP", "Copy files between a container and this machine"),
    ("container diff", ("diff",), "CONTAINER", 1, 1,
     "files:diff", "flag_table:NONE", "List what a container has changed in its file system"),
    ("container export", ("export",), "CONTAINER", 1, 1,
     "files:export", "flag_table:EXPORT", "Write a container's file system to an archive"),
    ("container commit", ("commit",), "CONTAINER [REPOSITORY[:TAG]]", 1, 2,
     "files:commit", "flag_table:COMMIT", "Make an image of what a container has changed"),
    ("container inspect", (), "CONTAINER [CONTAINER...]", 1, -1,
     "inspect:inspect_containers", "flag_table:INSPECT_CONTAINER", "Show everything known about containers"),
    ("inspect", (), "NAME [NAME...]", 1, -1,
     "inspect:inspect", "flag_table:INSPECT", "Show everything known about containers or images"),
    ("explain run", (), "IMAGE [COMMAND] [ARG...]", 1, -1,
     "explain:explain_run", "run_flags:EXPLAIN", "Run a container and show step by step what was done"),
    ("explain show", ("anatomy",), "CONTAINER", 1, 1,
     "explain:show", "flag_table:ANATOMY", "Show what a running container is made of, as the kernel sees it"),
    ("image ls", ("images", "image list"), "[REPOSITORY[:TAG]]", 0, 1,
     "images:ls", "flag_table:IMAGES", "List images"),
    ("image pull", ("pull",), "NAME[:TAG|@DIGEST]", 1, 1,
     "pull:pull", "flag_table:PULL", "Fetch an image from its registry"),
    ("image push", ("push",), "NAME[:TAG]", 1, 1,
     "pull:push", "flag_table:PUSH", "Send an image to its registry"),
    ("login", (), "[REGISTRY]", 0, 1,
     "login:login", "flag_table:LOGIN", "Have a registry check name and password, and keep them"),
    ("logout", (), "[REGISTRY]", 0, 1,
     "login:logout", "flag_table:NONE", "Forget name and password for a registry"),
    ("builder prune", (), "", 0, 0,
     "prune:builds", "flag_table:BUILD_PRUNE", "Forget the steps of builds that are cached"),
    ("builder debug", (), "[ID] [COMMAND] [ARG...]", 0, -1,
     "build_debug:debug", "flag_table:BUILD_DEBUG", "Open a shell in the files that a failed step has left"),
    ("builder cache", (), "ls|export|import [ID]", 1, 2,
     "build_cache:cache", "flag_table:BUILD_CACHE", "What RUN --mount=type=cache keeps: list, save, bring"),
    ("image build", ("build", "builder build"), "PATH|URL|-", 1, 1,
     "build:build", "flag_table:BUILD", "Build an image of a Dockerfile and a directory"),
    ("image bootstrap", (), "busybox|debian[:SUITE]|hello", 1, 1,
     "images:bootstrap", "flag_table:BOOTSTRAP", "Make a base image from the distribution's packages"),
    ("image load", ("load",), "", 0, 0,
     "images:load", "flag_table:LOAD", "Load images from an archive that `save` has written"),
    ("image import", ("import",), "FILE|- [REPOSITORY[:TAG]]", 1, 2,
     "images:import_", "flag_table:IMPORT", "Make an image from an archive of a root file system"),
    ("image save", ("save",), "IMAGE [IMAGE...]", 1, -1,
     "images:save", "flag_table:SAVE", "Write images to an archive"),
    ("image tag", ("tag",), "SOURCE[:TAG] TARGET[:TAG]", 2, 2,
     "images:tag", "flag_table:NONE", "Give an image another name"),
    ("image rm", ("rmi", "image remove"), "IMAGE [IMAGE...]", 1, -1,
     "images:remove", "flag_table:RMI", "Remove images"),
    ("image prune", (), "", 0, 0,
     "prune:images", "flag_table:PRUNE_ALL", "Remove images that are not in use"),
    ("image history", ("history",), "IMAGE", 1, 1,
     "images:history", "flag_table:HISTORY", "Show how an image was made, layer by layer"),
    ("image inspect", (), "IMAGE [IMAGE...]", 1, -1,
     "inspect:inspect_images", "flag_table:INSPECT_IMAGE", "Show everything known about images"),
    ("image tree", (), "[IMAGE...]", 0, -1,
     "image_tools:tree", "flag_table:IMAGE_TREE", "Show which layers images share"),
    ("image diff", (), "IMAGE IMAGE", 2, 2,
     "image_tools:diff", "flag_table:IMAGE_DIFF", "List the files that differ between two images"),
    ("image mount", (), "[IMAGE...]", 0, -1,
     "image_tools:mount", "flag_table:IMAGE_MOUNT", "Mount images read-only and print where"),
    ("image unmount", ("image umount",), "[IMAGE...]", 0, -1,
     "image_tools:unmount", "flag_table:IMAGE_UNMOUNT", "Undo `image mount`"),
    ("image copy", (), "IMAGE ADDRESS", 2, 2,
     "image_copy:copy", "flag_table:IMAGE_COPY", "Send an image to another sampand: ssh://HOST, tcp:// or unix://"),
    ("image verify", (), "NAME", 1, 1,
     "verify:verify", "flag_table:IMAGE_VERIFY", "Tell whose signatures an image has"),
    ("image flatten", (), "IMAGE [REPOSITORY[:TAG]]", 1, 2,
     "image_tools:flatten", "flag_table:NONE", "Make an image with one layer that holds all of another"),
    ("search", (), "[HOST/]WORD", 1, 1,
     "search:search", "flag_table:SEARCH", "List images of a registry with a word in their name"),
    ("manifest inspect", (), "NAME", 1, 1,
     "manifests:inspect", "flag_table:MANIFEST_INSPECT", "Show what a registry has under a name"),
    ("manifest create", (), "NAME IMAGE [IMAGE...]", 2, -1,
     "manifests:create", "flag_table:MANIFEST_CREATE", "Begin an image index of images in its registry"),
    ("manifest annotate", (), "NAME IMAGE", 2, 2,
     "manifests:annotate", "flag_table:MANIFEST_ANNOTATE", "Say which platform an image of the index is for"),
    ("manifest push", (), "NAME", 1, 1,
     "manifests:push", "flag_table:MANIFEST_PUSH", "Send the index to its registry"),
    ("manifest rm", (), "NAME [NAME...]", 1, -1,
     "manifests:remove", "flag_table:NONE", "Throw indexes away that were begun here"),
    ("network create", (), "NETWORK", 1, 1,
     "networks:create", "flag_table:NETWORK_CREATE", "Make a network: containers in it reach each other"),
    ("network ls", ("network list",), "", 0, 0,
     "networks:ls", "flag_table:NETWORK_LS", "List networks"),
    ("network inspect", (), "NETWORK [NETWORK...]", 1, -1,
     "inspect:inspect_networks", "flag_table:INSPECT_NETWORK", "Show everything known about networks"),
    ("network rm", ("network remove",), "NETWORK [NETWORK...]", 1, -1,
     "networks:remove", "flag_table:NONE", "Remove networks that no container is in"),
    ("network prune", (), "", 0, 0,
     "prune:networks", "flag_table:NETWORK_PRUNE", "Remove networks that no container has"),
    ("network connect", (), "NETWORK CONTAINER", 2, 2,
     "networks:connect", "flag_table:NETWORK_CONNECT", "Put a container in one more network"),
    ("network disconnect", (), "NETWORK CONTAINER", 2, 2,
     "networks:disconnect", "flag_table:NETWORK_DISCONNECT", "Take a container out of a network"),
    ("volume create", (), "[VOLUME]", 0, 1,
     "volumes:create", "flag_table:VOLUME_CREATE", "Make a volume: a directory that outlives containers"),
    ("volume ls", ("volume list",), "", 0, 0,
     "volumes:ls", "flag_table:VOLUME_LS", "List volumes"),
    ("volume inspect", (), "VOLUME [VOLUME...]", 1, -1,
     "inspect:inspect_volumes", "flag_table:INSPECT_VOLUME", "Show everything known about volumes"),
    ("volume rm", ("volume remove",), "VOLUME [VOLUME...]", 1, -1,
     "volumes:remove", "flag_table:VOLUME_RM", "Remove volumes that no container has"),
    ("volume prune", (), "", 0, 0,
     "prune:volumes", "flag_table:VOLUME_PRUNE", "Remove anonymous volumes that no container has"),
    ("volume export", (), "VOLUME", 1, 1,
     "volumes:export", "flag_table:VOLUME_EXPORT", "Write a volume's content to an archive"),
    ("volume import", (), "VOLUME [FILE|-]", 1, 2,
     "volumes:import_", "flag_table:NONE", "Unpack an archive over a volume's content"),
    ("registry serve", (), "[HOST:PORT]", 0, 1,
     "registry_serve:serve", "flag_table:REGISTRY_SERVE", "Serve images to docker, podman and skopeo"),
    ("system start", (), "", 0, 0,
     "system:start", "flag_table:SYSTEM_START", "Start sampand, unless it runs"),
    ("system stop", (), "", 0, 0,
     "system:stop", "flag_table:SYSTEM_STOP", "Stop sampand; containers run on"),
    ("system status", (), "", 0, 0,
     "system:status", "flag_table:NONE", "Tell whether sampand runs"),
    ("system info", ("info",), "", 0, 0,
     "system:info", "flag_table:INFO", "Show facts about this machine and the daemon"),
    ("system events", ("events",), "", 0, 0,
     "events:events", "flag_table:EVENTS", "Show what happens, as it happens"),
    ("system df", (), "", 0, 0,
     "disk_usage:df", "flag_table:DF", "Show what images, containers and volumes occupy on the disk"),
    ("system prune", (), "", 0, 0,
     "prune:system", "flag_table:PRUNE_SYSTEM", "Remove everything that is not in use"),
    ("system dial-stdio", (), "", 0, 0,
     "dialling:dial", "flag_table:NONE", "Connect standard input and output to the daemon, for ssh://"),
    ("system check", (), "", 0, 0,
     "check:check", "flag_table:CHECK", "Find what nothing refers to: files, cgroups, mounts, processes"),
    ("version", (), "", 0, 0,
     "system:version", "flag_table:INFO", "Show the versions of this command and of the daemon"),
    ("completion", (), "bash|zsh|fish", 1, 1,
     "completion:completion", "flag_table:NONE", "Write a completion script for a shell"),
    ("help", (), "[COMMAND...]", 0, -1,
     "help:help_command", "flag_table:NONE", "Show help for a command"),
)
# fmt: on

NOUNS = (
    ("container", "Containers: processes with their own view of the machine"),
    ("image", "Images: root file systems in layers, and how to start them"),
    ("builder", "Builds, and the cache of their steps"),
    ("network", "Networks: who reaches whom"),
    ("volume", "Volumes: directories that outlive containers"),
    ("manifest", "Image indexes: one name for several platforms"),
    ("registry", "A registry of one's own"),
    ("system", "The daemon and this machine"),
    ("explain", "See what a container is made of"),
)

# What docker has and this version has not: named, so that nobody looks for a spelling mistake.
LATER = frozenset(
    "buildx compose context plugin swarm node stack service secret config checkpoint trust".split()
)


@record
class Command:
    """One command, as looked up."""

    path: str
    aliases: tuple[str, ...]
    arguments: str
    least: int
    most: int
    handler: str
    flags: str
    summary: str

    def flag_groups(self) -> tuple[Group, ...]:
        """Load the table of this command's flags."""
        groups: tuple[Group, ...] = load(self.flags)  # type: ignore[assignment]  # the table says what it names
        return groups

    @property
    def interspersed(self) -> bool:
        """Whether flags may follow arguments; not where the arguments are a command for the container."""
        return "[ARG...]" not in self.arguments and "PS OPTIONS" not in self.arguments


def load(reference: str) -> object:
    """Return `module:NAME` of this package; `importlib` would cost a millisecond."""
    module, _, name = reference.partition(":")
    return getattr(__import__(f"sampan.cli.{module}", fromlist=(name,)), name)


def find_command(words: list[str]) -> tuple[Command, int] | None:
    """Return the command at the head of words, and how many of them name it; None when there is none."""
    one, two = words[0], " ".join(words[:2])
    for row in COMMANDS:
        if one == row[0] or one in row[1]:
            return _command(row), 1
        if two == row[0] or two in row[1]:
            return _command(row), 2
    return None


def _command(row: CommandRow) -> Command:
    path, aliases, arguments, least, most, handler, flags, summary = row
    return Command(
        path=path,
        aliases=aliases,
        arguments=arguments,
        least=least,
        most=most,
        handler=handler,
        flags=flags,
        summary=summary,
    )


def all_commands() -> list[Command]:
    """Return every command, in the order of the help page."""
    return [_command(row) for row in COMMANDS]
