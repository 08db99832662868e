"""A name server on loopback, by UDP and TCP: TXT records of the test's own, and its faults."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass
class NameServer:
    """Answers for every zone.

    Attributes:
        address: as ``TENANCY_DNS_SERVERS`` has it.
        records: texts of TXT records by name; a text of several strings as the zone file has it.
        aliases: CNAMEs.
        rcode: what every answer says; NOERROR: as the records have it.
        silent: whether no answer is sent at all.
        asked, reached: names it was asked for, and whether it was.
    """

    address: str = ""
    records: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self, wire: bytes, *, datagram: bool) -> bytes:
        query = dns.message.from_wire(wire)
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(self.rcode)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        self.asked.append(name)
        self.reached.set()
        if self.rcode != dns.rcode.NOERROR:
            return reply.to_wire()
        while name in self.aliases:
            alias = self.aliases[name]
            reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", alias))
            name = alias.rstrip(".")
        if question.rdtype == dns.rdatatype.TXT and name in self.records:
            texts = self.records[name]
            reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", *texts))
        elif name not in self.records:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if not datagram:
            return reply.to_wire()
        try:
            return reply.to_wire(max_size=512)
        except dns.exception.TooBig:
            short = dns.message.make_response(query, recursion_available=True)
            short.flags |= dns.flags.TC  # the client asks again by TCP
            return short.to_wire()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, datagram=True)
        if not self._server.silent:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Serve until the block ends."""
    server = NameServer()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        answer = server.answer(wire, datagram=False)
        writer.write(len(answer).to_bytes(2) + answer)
        await writer.drain()
        writer.close()

    streams = await asyncio.start_server(stream, "127.0.0.1", 0)
    port = streams.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(server), local_addr=("127.0.0.1", port)
    )
    server.address = f"127.0.0.1:{port}"
    try:
        async with streams:
            yield server
    finally:
        transport.close()
