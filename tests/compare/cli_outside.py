"""The commands for what a container meets outside itself: networks, ports, builds, registries."""

# ruff: noqa: E501 -- tables, one command a line
from __future__ import annotations

NETWORKS = """
network create net1
network create net1
network create --subnet 10.99.0.0/24 --gateway 10.99.0.1 --label a=b net2
network create --subnet 10.99.0.0/16 overlap
network create --subnet nonsense bad
network create --subnet 10.98.0.0/24 --gateway 10.97.0.1 bad
network create --subnet 10.98.0.0/24 --ip-range 10.97.0.0/25 bad
network create --gateway 10.98.0.1 bad
network create --driver nosuch bad
network create --driver overlay bad
network create --ipam-driver nosuch bad
network create --internal --subnet 10.97.0.0/24 inner
network create -o com.docker.network.driver.mtu=1400 small
network create -o com.docker.network.driver.mtu=nonsense bad
network create -o com.docker.network.bridge.name=br-named named
network create --attachable attachable
network create --subnet 10.96.0.0/16 --ip-range 10.96.5.0/24 --aux-address router=10.96.5.1 ranged
network create host
network create bridge
network create ''
network create 'a b'
network rm 'a b'
network create --scope swarm bad
network create --ingress bad
network create
network create a b
~network ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.IPv6}} {{.Labels}}'
network ls -q -f name=net2
network ls -f driver=null --format '{{.Name}}'
network ls -f driver=nosuch --format '{{.Name}}'
~network ls -f type=custom --format '{{.Name}}'
~network ls -f type=builtin --format '{{.Name}}'
network ls -f type=nonsense
network ls -f label=a=b --format '{{.Name}}'
network ls -f scope=swarm -q
~network ls -f dangling=true --format '{{.Name}}'
network ls -f dangling=nonsense
network ls -f nosuch=1
network ls --no-trunc -q -f id=nosuch
network inspect net1
network inspect net2
network inspect ranged
network inspect none
network inspect -f '{{json .IPAM}} {{json .Options}} {{json .Labels}} {{.Internal}} {{.Attachable}} {{.EnableIPv6}}' net2 inner small named attachable
network inspect net1 nosuch
network inspect -f '{{.NoSuch}}' net1
run -d --name one --network net1 --network-alias first busybox sleep 600
run -d --name two --network net2 --ip 10.99.0.50 --label x=y busybox sleep 600
run --rm --network net1 --ip 10.1.2.3 busybox true
run --rm --network net2 --ip 10.1.2.3 busybox true
run --rm --network net2 --ip 10.99.0.50 busybox true
run --rm --network net2 --ip nonsense busybox true
run --rm --network bridge --ip 172.17.0.9 busybox true
run --rm --network bridge --network-alias x busybox true
run --rm --network none --network-alias x busybox true
run --rm --network container:one -p 80:80 busybox true
run --rm --network container:one -h x busybox true
run --rm --network container:one --add-host a:1.2.3.4 busybox true
run --rm --network container:one --dns 1.2.3.4 busybox true
run --rm --network container:one --link two busybox true
run --rm --network container:one --expose 1 busybox true
run --rm --network host -p 80:80 busybox true
run --rm --network host --link two busybox true
run --rm --network none -p 80:80 busybox true
run --rm --network host busybox ip -o link show lo
run --rm --network container:one busybox cat /sys/class/net/eth0/address
run --rm busybox ip -4 -o addr show eth0
run --rm busybox ip route
run --rm --mac-address 02:42:ac:11:00:99 busybox cat /sys/class/net/eth0/address
run --rm --mac-address nonsense busybox true
run --rm busybox sh -c 'cat /etc/hosts | tail -n 1'
run --rm --hostname box busybox sh -c 'tail -n 1 /etc/hosts'
run --rm --network net1 busybox cat /etc/resolv.conf
run --rm --network net1 --dns 9.9.9.9 --dns-search example --dns-option ndots:2 busybox cat /etc/resolv.conf
run --rm --dns 9.9.9.9 --dns-search example --dns-option ndots:2 busybox cat /etc/resolv.conf
run --rm --network net1 busybox sh -c 'ping -c 1 -q -W 2 first >/dev/null && echo yes'
run --rm --network net1 busybox nslookup -type=a one
run --rm --network net1 busybox sh -c 'ping -c 1 -q -W 2 two >/dev/null && echo yes'
run --rm --network net2 busybox sh -c 'ping -c 1 -q -W 2 two >/dev/null && echo yes'
run --rm --network small busybox cat /sys/class/net/eth0/mtu
run --rm --network inner busybox ip route
run --rm --network ranged busybox hostname -i
inspect -f '{{json .NetworkSettings.Networks}}' one
inspect -f '{{json .NetworkSettings.Networks}}' two
inspect -f '{{.NetworkSettings.IPAddress}}|{{.NetworkSettings.Gateway}}|{{json .NetworkSettings.Ports}}' one
network connect net2 one
network connect net2 one
network connect nosuch one
network connect net2 nosuch
network connect --ip 10.99.0.50 net2 one
network connect --ip 10.99.0.60 --alias extra net2 two
network connect host one
network connect none one
network connect bridge one
network connect
exec two sh -c 'ping -c 1 -q -W 2 one >/dev/null && echo yes'
exec one sh -c 'ls /sys/class/net | wc -l'
inspect -f '{{range $name, $net := .NetworkSettings.Networks}}{{$name}} {{$net.IPAddress}} {{json $net.Aliases}};{{end}}' one
ps -f name=two --format '{{.Names}} {{.Networks}}'
ps -f network=net1 --format '{{.Names}}'
ps -f network=nosuch --format '{{.Names}}'
~network inspect -f '{{range .Containers}}{{println .Name .IPv4Address}}{{end}}' net2
network disconnect net2 one
network disconnect net2 one
network disconnect nosuch one
network disconnect net2 nosuch
network disconnect -f net2 nosuch
network disconnect
network rm net1
network rm nosuch
network rm bridge
network rm host
network rm inner nosuch
stop -t 0 two
network inspect -f '{{len .Containers}}' net2
network rm net2
start two
create --name three --network net2 busybox sleep 600
network connect net1 three
network disconnect net1 three
network rm net2
start three
rm -f one two three
network prune -f --filter label=nosuch
network prune -f --filter nosuch=1
network prune -f --filter until=nonsense
network rm net2
~network prune -f
network ls -f type=custom -q
"""

PORTS = """
run -d --name web -p 8080:80 busybox httpd -f -p 80
port web
port web 80
port web 80/tcp
port web 80/udp
port web 81
port web nonsense
ps --format '{{.Names}} {{.Ports}}'
inspect -f '{{json .NetworkSettings.Ports}} {{json .HostConfig.PortBindings}}' web
run --rm -p 8080:80 busybox true
run --rm -p 127.0.0.1:8080:80 busybox true
run -d --name local -p 127.0.0.1:8081:80/udp busybox sleep 600
port local
run -d --name range -p 8000-8002:8000-8002 busybox sleep 600
~port range
ps -f name=range --format '{{.Ports}}'
run -d --name exposed --expose 90 --expose 91/udp busybox sleep 600
ps -f name=exposed --format '{{.Ports}}'
port exposed
run --rm -p nonsense busybox true
run --rm -p 99999:80 busybox true
run --rm -p 80:80/nonsense busybox true
run --rm -p 8005-8006:80-83 busybox true
run --rm -p 1.2.3.4:8090:80 busybox true
run --rm -p 300.2.3.4:8090:80 busybox true
run -d --name published -P --expose 90 busybox sleep 600
inspect -f '{{len .NetworkSettings.Ports}}' published
ps -f publish=8080 --format '{{.Names}}'
ps -f expose=90 --format '{{.Names}}'
ps -f publish=nonsense
run --rm --link web busybox grep web /etc/hosts
run --rm --link web:other busybox sh -c 'env | grep ^OTHER_PORT | sort'
run --rm --link web:other busybox sh -c 'ping -c 1 -q -W 2 other >/dev/null && echo yes'
run --rm --link nosuch busybox true
stop -t 0 web
port web
ps -a -f name=web --format '{{.Ports}}|'
start web
port web
rm -f web local range exposed published
"""

BUILDS = """
build -t built:1 {context}
build -t built:1 {context}
build -q -t built:2 {context}
build --no-cache -q {context}
build -t Bad/Name {context}
build -f {context}/missing {context}
build {missing}
build -f {context}/args.df --build-arg A=given -t built:args {context}
build -f {context}/args.df --build-arg NOSUCH=1 {context}
build -f {context}/multi.df --target first -t built:first {context}
build -f {context}/multi.df --target nosuch {context}
build -f {context}/multi.df -t built:multi {context}
build -f {context}/unknown.df {context}
build -f {context}/empty.df {context}
build -f {context}/nofrom.df {context}
build -f {context}/fails.df {context}
build -f {context}/nocopy.df {context}
build -f {context}/nobase.df {context}
build -f {context}/badcmd.df {context}
build --label x=y -q -t built:label {context}
build --network nosuch --no-cache -q {context}
build --network none -f {context}/net.df {context}
build --add-host other:1.2.3.4 --no-cache -f {context}/hosts.df {context}
build --memory 64m --no-cache -q {context}
build --memory nonsense {context}
build --force-rm --no-cache -f {context}/fails.df {context}
build --iidfile {target} -q {context}
build -t built:stdin - << FROM busybox
build - << nonsense
build --cache-from built:1 -q {context}
build --shm-size 8m --ulimit nofile=100:100 --no-cache -f {context}/limits.df {context}
image inspect -f '{{json .Config.Cmd}} {{json .Config.Env}} {{json .Config.Labels}} {{.Config.WorkingDir}} {{json .Config.ExposedPorts}} {{json .Config.Entrypoint}}' built:1
image inspect -f '{{json .Config.Labels}}' built:label
history --format '{{.CreatedBy}}|{{.Size}}|{{.Comment}}' --no-trunc built:1
run --rm --network none built:1
run --rm --network none built:1 cat copied
run --rm --network none built:args
run --rm --network none built:multi
run --rm --network none built:first
~images --format '{{.Repository}}:{{.Tag}}' built
builder build -q {context}
image build -q {context}
rmi built:1 built:2 built:args built:first built:multi built:label built:stdin
builder prune --filter nosuch=1 -f
builder
"""

REGISTRY = """
tag busybox {registry}/box:1
tag busybox {registry}/box:2
push {registry}/box:1
push {registry}/box:1
push -q {registry}/box:2
push {registry}/box:nosuch
push {registry}/nosuch
push -a {registry}/box
push 127.0.0.1:1/nosuch
rmi {registry}/box:1 {registry}/box:2
pull {registry}/box:1
pull {registry}/box:1
pull -q {registry}/box:2
pull {registry}/box:nosuch
pull {registry}/nosuch
pull 127.0.0.1:1/nosuch
pull Bad/Name
pull {registry}/box@sha256:nonsense
pull {registry}/box@sha256:0000000000000000000000000000000000000000000000000000000000000000
pull -a {registry}/box
pull --platform nonsense {registry}/box:1
~images --format '{{.Repository}}:{{.Tag}}' {registry}/box
inspect -f '{{len .RepoDigests}} {{json .RepoTags}}' {registry}/box:1
rmi {registry}/box:2
run --rm --network none {registry}/box:2 echo hi
create --pull always --name pulled --network none {registry}/box:1 true
create --pull nonsense --network none {registry}/box:1 true
rm pulled
run --rm --network none {registry}/nosuch true
manifest inspect --insecure {registry}/nosuch
tag busybox {closed}/box:1
push {closed}/box:1
pull {closed}/box:1
login -u user -p wrong {closed}
login -u user -p secret {closed}
push -q {closed}/box:1
pull {closed}/box:1
logout {closed}
pull {closed}/box:1
login -u user --password-stdin {closed} << secret
logout {closed}
logout {closed}
login -u u -p p 127.0.0.1:1
rmi {closed}/box:1
search --limit 1000 x
search --filter nosuch=1 {registry}/x
rmi {registry}/box:1 {registry}/box:2
"""
