"""How much a container uses: the figures that `docker stats` shows, from the API's documents."""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.client.values import Document, as_document, as_documents, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """One sample. cpu_percent: 100 is one whole processor; document: everything, as the API has it."""

    read_at: str
    cpu_percent: float
    memory_bytes: int  # without the page cache that can go at any time
    memory_limit_bytes: int
    pids: int
    received_bytes: int
    sent_bytes: int
    read_bytes: int
    written_bytes: int
    document: Document = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Document) -> Stats:
        """Take one document of `/stats`."""
        memory = as_document(document.get("memory_stats"))
        networks = [as_document(value) for value in as_document(document.get("networks")).values()]
        blocks = as_documents(as_document(document.get("blkio_stats")).get("io_service_bytes_recursive"))
        return cls(
            read_at=str(document.get("read")),
            cpu_percent=_cpu_percent(document),
            memory_bytes=_used(memory),
            memory_limit_bytes=whole(memory.get("limit")),
            pids=whole(as_document(document.get("pids_stats")).get("current")),
            received_bytes=sum(whole(one.get("rx_bytes")) for one in networks),
            sent_bytes=sum(whole(one.get("tx_bytes")) for one in networks),
            read_bytes=_moved(blocks, "read"),
            written_bytes=_moved(blocks, "write"),
            document=document,
        )


def _cpu_percent(document: Document) -> float:
    """Return the share since the sample before, which the document carries as well; 0 for a first one."""
    now, before = as_document(document.get("cpu_stats")), as_document(document.get("precpu_stats"))
    used = _total(now) - _total(before)
    passed = whole(now.get("system_cpu_usage")) - whole(before.get("system_cpu_usage"))
    if used <= 0 or passed <= 0 or not before.get("system_cpu_usage"):
        return 0.0
    each = as_document(now.get("cpu_usage")).get("percpu_usage")
    count = whole(now.get("online_cpus")) or (len(each) if isinstance(each, list) else 0)
    return used / passed * count * 100


def _total(cpu: Document) -> int:
    return whole(as_document(cpu.get("cpu_usage")).get("total_usage"))


def _used(memory: Document) -> int:
    """Return the usage without inactive files: the v1 field, else the v2 one."""
    usage, details = whole(memory.get("usage")), as_document(memory.get("stats"))
    inactive = whole(details.get("total_inactive_file")) or whole(details.get("inactive_file"))
    return usage - inactive if inactive < usage else usage


def _moved(blocks: list[Document], what: str) -> int:
    return sum(whole(one.get("value")) for one in blocks if str(one.get("op")).lower() == what)
