"""The commands, in order: one story for both daemons. `{name}` are files and values that `fill` knows."""

# ruff: noqa: E501 -- tables, one command a line
from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tests.compare.cli_outside import BUILDS, NETWORKS, PORTS, REGISTRY
from tests.compare.cli_steps import Step, steps_of

RUN = """
run --rm --network none busybox echo hi
run --rm --network none busybox sh -c 'echo out; echo err >&2; exit 3'
run --rm -i --network none busybox cat << through
run --rm --network none busybox nosuchprogram
run --rm --network none busybox /etc/passwd
run --rm --network none busybox /etc
run --rm --network none --entrypoint echo busybox one two
run --rm --network none --entrypoint '' busybox echo cleared
run --rm --network none -e A=1 -e B busybox sh -c 'echo $A-$B'
run --rm --network none --env-file {envfile} busybox sh -c 'echo $FROM_FILE'
run --rm --network none --env-file {missing} busybox true
run --rm --network none -w /tmp busybox pwd
run --rm --network none -w relative busybox pwd
run --rm --network none -w /made/for/it busybox pwd
run --rm --network none -u 1000:1000 busybox id
run --rm --network none -u user busybox id
run --rm --network none -u nosuchuser busybox id
run --rm --network none --group-add 77 -u 5 busybox id
run --rm --network none --group-add nosuchgroup busybox id
run --rm --network none -h box --domainname example busybox cat /etc/hostname
run --rm --network none --add-host other:1.2.3.4 busybox grep other /etc/hosts
run --rm --network none --add-host nocolon busybox true
run --rm --network none --dns 9.9.9.9 --dns-search example busybox true
run --rm --network none --dns nonsense busybox true
run --rm --network none --read-only busybox touch /x
run --rm --network none --tmpfs /t:size=1m,mode=700 busybox stat -c %a /t
run --rm --network none --memory 32m busybox true
run --rm --network none --memory 1m busybox true
run --rm --network none --memory nonsense busybox true
run --rm --network none --memory 32m --memory-swap 16m busybox true
run --rm --network none --cpus 0.5 busybox true
run --rm --network none --cpus 1000 busybox true
run --rm --network none --cpuset-cpus 99 busybox true
run --rm --network none --cpu-shares 1 busybox true
run --rm --network none --pids-limit 20 busybox true
run --rm --network none --ulimit nofile=64:128 busybox sh -c 'ulimit -n'
run --rm --network none --ulimit nofile=128:64 busybox true
run --rm --network none --ulimit nonsense=1 busybox true
run --rm --network none --cap-drop ALL busybox grep CapEff /proc/self/status
run --rm --network none --cap-add SYS_ADMIN busybox grep CapEff /proc/self/status
run --rm --network none --cap-add NONSENSE busybox true
run --rm --network none --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status
run --rm --network none --security-opt nonsense busybox true
run --rm --network none --security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status
run --rm --network none --security-opt seccomp={missing} busybox true
run --rm --network none --sysctl kernel.shm_rmid_forced=1 busybox cat /proc/sys/kernel/shm_rmid_forced
run --rm --network none --sysctl vm.swappiness=1 busybox true
run --rm --network none --shm-size 1m busybox sh -c 'df -k /dev/shm | tail -1 | tr -s " " | cut -d" " -f2'
run --rm --network none --init busybox sh -c 'cat /proc/1/comm | tr -d "\\n" | wc -c >/dev/null; echo ok'
run --rm --network none --device /dev/null:/dev/mynull busybox sh -c 'test -c /dev/mynull && echo there'
run --rm --network none --device /dev/nosuch busybox true
run --rm --network none -v {folder}:/b busybox cat /b/file
run --rm --network none -v {folder}:/b:ro busybox touch /b/x
run --rm --network none -v {folder}:relative busybox true
run --rm --network none -v {folder}:/b:nonsense busybox true
run --rm --network none -v {folder}/file:/one busybox cat /one
run --rm --network none --mount type=bind,src={folder},dst=/b,readonly busybox cat /b/file
run --rm --network none --mount type=bind,src={missing},dst=/b busybox true
run --rm --network none --mount type=tmpfs,dst=/t,tmpfs-size=1m busybox sh -c 'grep -c " /t tmpfs" /proc/mounts'
run --rm --network none --mount type=nonsense,dst=/b busybox true
run --rm --network none --mount type=bind,dst=/b busybox true
run --rm --network none --name bad/name busybox true
run --rm --network none --ipc nonsense busybox true
run --rm --network none --pid nonsense busybox true
run --rm --network none --pid host busybox true
run --rm --network none --uts host busybox true
run --rm --network nosuchnet busybox true
run --rm --network container:nosuch busybox true
run --rm --network none --stop-signal NONSENSE busybox true
run --rm --network none --oom-score-adj 500 busybox cat /proc/self/oom_score_adj
run --rm --network none --oom-score-adj 5000 busybox true
run --rm --network none --runtime nosuch busybox true
run --rm --network none --log-driver nosuch busybox true
run --rm --network none --log-opt nosuch=1 busybox true
run --rm --network none --restart always busybox true
run --rm --network none --restart nonsense busybox true
run -d --rm --network none --restart always busybox true
run --rm --network none --label a=b --label-file {missing} busybox true
run --rm --network none --privileged busybox grep CapBnd /proc/self/status
run --rm --network none --pull never nosuchimage true
run --rm --network none UPPER true
run --rm --network none busybox sh -c 'kill -9 $$; exit 5'
run --nosuchflag busybox
run
"""

TOP = """
run -d --name topped --network none busybox sleep 600
top topped
top topped -o pid,comm
rm -f topped
"""

CONTAINERS = """
create --name made --network none --label tier=back busybox sh -c 'echo one; echo two >&2; exec sleep 600'
create --name made --network none busybox true
create --cidfile {cidfile} --network none --name withcid busybox true
create --cidfile {cidfile} --network none busybox true
ps -a --format '{{.Names}} {{.Status}} {{.Image}} {{.Command}}'
ps -a --no-trunc --format '{{.Names}} {{.Command}}' -f name=made
ps
start made
start made
start nosuch
start made nosuch
ps --format '{{.Names}} {{.Status}} {{.Ports}} {{.Labels}}'
ps --format 'table {{.Names}}\\t{{.State}}'
ps -q --no-trunc -f label=tier=back
ps -f nosuch=1
ps -f status=nosuch
ps -a -f status=created --format '{{.Names}}'
ps -a -f exited=0 -q
ps -n 1 --format '{{.Names}}'
ps -l --format '{{.Names}}'
ps -s --format '{{.Names}} {{.Size}}'
ps --format '{{json .Mounts}} {{.LocalVolumes}} {{.Networks}}'
ps --format '{{.NoSuch}}'
container ls --format json -a -f name=nosuch
inspect -f '{{.Name}} {{.State.Status}} {{.Config.Image}} {{.HostConfig.NetworkMode}} {{.RestartCount}}' made
inspect -f '{{json .Config}}' made
inspect -f '{{json .State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}}' made
inspect -f '{{json .HostConfig.RestartPolicy}} {{json .HostConfig.LogConfig}} {{json .HostConfig.CapAdd}}' made
inspect -f '{{.NoSuch}}' made
inspect nosuch
inspect --type container busybox
inspect --type image made
inspect --type volume made
container inspect nosuch
inspect -s -f '{{.SizeRw}}' made
logs made
logs --tail 2 made
logs --tail 0 made
logs --since 2030-01-01 made
logs --since nonsense made
logs -t --tail 1 nosuch
logs --details made
exec made echo in
exec made sh -c 'echo err >&2; exit 7'
exec -i made cat << through
exec -e X=y -w /tmp -u 1000 made sh -c 'echo $X; pwd; id -u'
exec -u nosuchuser made true
exec -w /nosuch made true
exec made nosuchprogram
exec nosuch true
exec made
exec -d made sleep 1
exec --privileged made grep CapEff /proc/self/status
exec -t made true
top nosuch
top made nonsense
stats --no-stream --format '{{.Name}} {{.PIDs}}' made
stats --no-stream nosuch
port made
port made 80
port nosuch
pause made
ps --format '{{.Names}} {{.Status}}'
pause made
exec made true
unpause made
unpause made
rename made better
rename better better
rename nosuch x
rename better withcid
rename better 'bad name'
update --memory 64m --memory-swap 64m better
update --memory 1m better
update --restart nonsense better
update --restart no better
update nosuch --memory 64m
update better
kill -s NONSENSE better
kill -s 0 better
kill -s CONT better
kill nosuch
stop -t 0 better
stop better
stop nosuch
wait better
wait nosuch
kill better
exec better true
pause better
top better
restart -t 0 better
restart nosuch
attach --no-stdin nosuch
rm better
rm -f better
rm better
rm nosuch
rm -f nosuch
rm
container prune -f --filter label=nosuch
container prune -f --filter nosuch=1
wait withcid withcid
rm withcid
"""

FILES = """
run --name files --network none busybox sh -c 'mkdir /d; echo new > /d/new; echo more >> /etc/plain; rm /etc/group'
~diff files
diff nosuch
cp files:/d/new -
cp files:/nosuch -
cp nosuch:/x -
cp {folder}/file files:/d/copied
cp {folder} files:/d
cp {folder}/file files:/nosuchdir/sub/
cp {missing} files:/d
cp - files:/nosuchdir << x
cp files:/d/copied {target}
cp files:/etc/passwd {folder}/nosuch/
cp files:/d files:/e
cp a b
export -o {archive} files
export nosuch
commit -m message -a author -c 'ENV A=b' -c 'CMD ["true"]' files committed:1
commit nosuch
commit -c NONSENSE files
inspect -f '{{.Comment}} {{.Author}} {{json .Config.Env}} {{json .Config.Cmd}}' committed:1
run --rm --network none committed:1 cat /d/new
history --format '{{.Comment}}' committed:1
rmi committed:1
rm files
"""

IMAGES = """
images --format '{{.Repository}}:{{.Tag}}'
images -q nosuch
images --no-trunc -q busybox
images -f dangling=true -q
images -f nosuch=1
images --filter reference=busy* --format '{{.Repository}}'
images --digests --format '{{.Digest}}' busybox
image ls nosuch
image inspect -f '{{json .Config.Cmd}} {{.Os}} {{.Architecture}} {{json .RepoTags}}' busybox
image inspect nosuch
image inspect -f '{{len .RootFS.Layers}} {{.RootFS.Type}}' busybox
tag busybox other:1
tag busybox Bad/Name
tag busybox other:bad:tag
tag nosuch other:2
~images --format '{{.Repository}}:{{.Tag}}'
rmi other:1
rmi nosuch
rmi nosuch busybox:nosuch
history --format '{{.CreatedBy}}|{{.Comment}}' busybox
history -q busybox
history nosuch
save -o {archive} busybox
save nosuch
load -i {archive}
load -q -i {archive}
load -i {missing}
load << no archive
import {rootfs} imported:1
import --change 'ENV A=b' --message told {rootfs} imported:2
import --change NONSENSE {rootfs} imported:3
import {missing} imported:4
inspect -f '{{json .Config.Env}} {{.Comment}}' imported:2
run -d --name usesit --network none imported:1 sleep 600
rmi imported:1
rmi -f imported:1
rm -f usesit
image prune -f --filter label=nosuch
image prune -f --filter nosuch=1
rmi imported:2
image rm
"""

VOLUMES = """
volume create vol
volume create vol
volume create --label a=b labelled
volume create 'bad name'
volume create -d nosuchdriver other
volume create -o nosuchoption=1 other
volume create -o type=tmpfs -o device=tmpfs -o o=size=1m small
volume ls
volume ls -q
volume ls -f label=a=b -q
volume ls -f dangling=true -q
volume ls -f nosuch=1
volume ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}}'
volume inspect -f '{{.Name}} {{.Driver}} {{json .Labels}} {{json .Options}} {{.Scope}}' vol labelled small
volume inspect nosuch
run --rm --network none -v vol:/data busybox sh -c 'echo kept > /data/file'
run --rm --network none -v vol:/data busybox cat /data/file
run --rm --network none -v vol:/data:ro busybox touch /data/x
run --rm --network none -v small:/data busybox sh -c 'grep -c " /data tmpfs" /proc/mounts'
run --rm --network none --mount type=volume,src=vol,dst=/data,volume-nocopy busybox cat /data/file
run --rm --network none -v fresh:/etc busybox cat /etc/plain
run --rm --network none -v fresh:/e busybox ls /e
run -d --name holds --network none -v vol:/data -v /anonymous busybox sleep 600
inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Driver}} {{.RW}} {{.Mode}};{{end}}' holds
run --rm --network none --volumes-from holds busybox cat /data/file
run --rm --network none --volumes-from nosuch busybox true
ps -f volume=vol --format '{{.Names}}'
volume rm vol
rm -fv holds
volume rm vol
volume rm vol
volume rm -f vol
volume rm
volume prune -f --filter label=nosuch
volume prune -f --filter nosuch=1
volume rm small labelled fresh
volume ls -q
"""

SYSTEM = """
version --format '{{.Server.Os}} {{.Server.Arch}}'
info --format '{{.OSType}} {{.Architecture}} {{.Driver}} {{.LoggingDriver}} {{.Containers}} {{.Swarm.LocalNodeState}}'
info --format '{{.NoSuch}}'
system info --format '{{json .Plugins.Volume}} {{.CgroupDriver}}'
system df --format '{{.Type}} {{.TotalCount}} {{.Active}}'
system df -v --format '{{len .Images}} {{len .Containers}} {{len .Volumes}}'
system prune -f --filter label=nosuch
system prune -f --filter nosuch=1
events --since 1 --until 2
events --until 2 --filter nosuch=1
events --since nonsense --until 2
network ls -f name=none --format '{{.Name}} {{.Driver}} {{.Scope}}'
network inspect -f '{{.Name}} {{.Driver}} {{.Scope}}' none host
network inspect nosuch
network rm none
network rm nosuch
node ls
service ls
secret ls
config ls
stack ls
swarm leave
swarm join-token worker
plugin ls
plugin inspect nosuch
search
nosuchcommand
container nosuchcommand
"""

# Whatever takes the terminal's or the clock's part in a message is compared by its code alone.
CODES_ONLY = """
version
info
ps -a
images
stats --no-stream
system df
inspect busybox
network ls
"""


def script() -> list[Step]:
    """Return every step, in order; the keys of repeated ones end in their number."""
    seen: Counter[str] = Counter()
    steps = []
    for step in _all():
        seen[step.key] += 1
        again = f" ({seen[step.key]})" if seen[step.key] > 1 else ""
        steps.append(replace(step, key=step.key + again))
    return steps


def _all() -> list[Step]:
    return [
        *steps_of("run", RUN),
        *steps_of("container", CONTAINERS),
        *steps_of("top", TOP, what=("code", "err")),
        *steps_of("files", FILES),
        *steps_of("image", IMAGES),
        *steps_of("volume", VOLUMES),
        *steps_of("system", SYSTEM),
        *steps_of("network", NETWORKS),
        *steps_of("port", PORTS),
        *steps_of("build", BUILDS),
        *steps_of("registry", REGISTRY),
        *steps_of("code only", CODES_ONLY, what=("code",)),
    ]
