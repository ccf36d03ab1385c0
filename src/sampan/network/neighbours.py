"""Other firewalls of this host that drop what is forwarded: dockerd, ufw. docs/networks.md, "Beside others".

A packet must pass the forward chains of every table. dockerd and ufw leave one whose policy is to drop, in
the table that iptables keeps, and each has a place there that is meant for others' rules. One tagged rule
goes there, after those of the host's administrator, and leads to a chain of ours. It says nothing of what
comes to the other engine's own networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sampan import log
from sampan.kernel import nftables as nft
from sampan.kernel import nftables_read as read
from sampan.kernel import xtables as xt
from sampan.kernel.nftables import Transaction
from sampan.network.firewalld import TABLE as FIREWALLD
from sampan.network.links import Names

if TYPE_CHECKING:
    from _socket import socket

    from sampan.kernel.nftables_read import Chain

_FAMILIES: Final[Mapping[int, str]] = {nft.IPV4: "ip", nft.IPV6: "ip6", nft.INET: "inet"}
_IPTABLES: Final = "filter"  # the table that iptables and ip6tables keep
_PLACES: Final = ("DOCKER-USER", "ufw-user-forward", "ufw6-user-forward")  # the first that is there is used
_DOCKER: Final = "DOCKER"  # where dockerd sends what leaves by one of its bridges
_DROP: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropping:
    """Somebody else's forward chain that drops by policy. place: where our rule is in it, "" for none."""

    table: str
    chain: str
    place: str = ""


class Neighbours:
    """Keeps our rule in others' tables in step with what is there. Not thread-safe: its owner holds a lock.

    strict: what comes to published ports from outside is left to the host's own forward chains.
    """

    def __init__(self, names: Names, *, strict: bool) -> None:
        self._tag = names.table
        self._chain = f"{names.table.upper()}-FORWARD"
        self._group = names.group
        self._strict = strict
        self.found: list[Dropping] = []
        self.has_firewalld = False

    def settle(self, sock: socket, *, needed: bool) -> None:
        """Look at every table and have our rules where they are needed, and nowhere else.

        Raises:
            OSError: a table has just changed; its change is told, and one looks again.
        """
        chains = read.chains(sock)
        self.has_firewalld = any(one.table == FIREWALLD and one.hook == nft.FORWARD for one in chains)
        found = []
        for family in (nft.IPV4, nft.IPV6):
            names = {one.name for one in chains if (one.family, one.table) == (family, _IPTABLES)}
            drops = any(_drops(one) for one in chains if one.family == family and one.table == _IPTABLES)
            place = next((one for one in _PLACES if one in names), "") if drops else ""
            if needed and place:
                self._have(sock, family, place, is_there=self._chain in names)
            elif self._chain in names:
                self._remove(sock, family)
            if drops:
                found.append(Dropping(table=f"{_FAMILIES[family]} filter", chain="FORWARD", place=place))
        found += [
            Dropping(table=f"{_FAMILIES.get(one.family, one.family)} {one.table}", chain=one.name)
            for one in chains
            if _drops(one) and (one.family == nft.INET or one.table != _IPTABLES)
        ]
        self._tell(found if needed else [])

    def _tell(self, found: list[Dropping]) -> None:
        for one in found:
            if one not in self.found and one.place:
                log.info("a rule lets containers through another firewall", table=one.table, chain=one.place)
            elif one not in self.found:
                log.warning("another firewall drops what is forwarded", table=one.table, chain=one.chain)
        self.found = found

    def _have(self, sock: socket, family: int, place: str, *, is_there: bool) -> None:
        rules = read.rules(sock, family=family, table=_IPTABLES)
        foreign = sorted({one.leaves_by for one in rules if one.jump == _DOCKER and one.leaves_by})
        wanted = self._rules(foreign)
        at_place = read.rules(sock, family=family, table=_IPTABLES, chain=place)
        ours = [one for one in at_place if one.jump == self._chain]
        end = at_place[-1:] if at_place and at_place[-1].is_return else []  # nothing behind it is reached
        last = at_place[: len(at_place) - len(end)][-1:]
        stands = bool(ours) and ours == last
        now = read.rules(sock, family=family, table=_IPTABLES, chain=self._chain) if is_there else []
        if stands and [one.comment for one in now] == list(wanted):
            return
        change = Transaction(_IPTABLES, family)
        change.add_chain(self._chain)
        if is_there:
            change.flush_chain(self._chain)
        for comment, row in wanted.items():
            change.add_rule(self._chain, row, xt.comment(comment), xt.counter(), _verdict(comment))
        if not stands:
            for one in ours:
                change.delete_rule(place, one.handle)
            tagged = (xt.comment(f"{self._tag}: containers"), xt.counter(), nft.jump(self._chain))
            change.add_rule(place, *tagged, before=end[0].handle if end else 0)
        change.commit(sock)

    def _rules(self, foreign: Iterable[str]) -> dict[str, bytes]:
        """Return the rows of our chain by their comments, in order."""
        replies = xt.established() if self._strict else b""
        what = "replies to containers" if self._strict else "to containers"
        return {
            f"{self._tag}: {what}: accept": replies + xt.to_group(self._group),
            **{f"{self._tag}: {name} is another engine's: return": xt.to_interface(name) for name in foreign},
            f"{self._tag}: from containers: accept": xt.from_group(self._group),
        }

    def _remove(self, sock: socket, family: int) -> None:
        change = Transaction(_IPTABLES, family)
        for chain in (one for one in read.chains(sock) if (one.family, one.table) == (family, _IPTABLES)):
            for rule in read.rules(sock, family=family, table=_IPTABLES, chain=chain.name):
                if rule.jump == self._chain:
                    change.delete_rule(chain.name, rule.handle)
        change.flush_chain(self._chain)
        change.delete_chain(self._chain)
        change.commit(sock)
        log.info("the rule in another firewall is taken away", table=f"{_FAMILIES[family]} {_IPTABLES}")


def _drops(chain: Chain) -> bool:
    return chain.hook == nft.FORWARD and chain.kind == "filter" and chain.policy == _DROP


def _verdict(comment: str) -> bytes:
    return nft.verdict(nft.RETURN if comment.endswith(": return") else nft.ACCEPT)
