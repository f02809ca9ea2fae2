"""Which ports the host listens on, and who does; read from /proc, as `ss` is not everywhere."""

import os
import re
import socket
import struct

_LISTENING, _UNCONNECTED = "0A", "07"


def listening(proc="/proc"):
    """List lines such as "tcp 0.0.0.0:80 nginx", sorted. UDP ports of clients (the ephemeral range) are left out."""
    found = {}
    for table, state in (("tcp", _LISTENING), ("tcp6", _LISTENING), ("udp", _UNCONNECTED), ("udp6", _UNCONNECTED)):
        for inode, address, port in _sockets(os.path.join(proc, "net", table), state):
            if table.startswith("udp") and port >= _first_ephemeral(proc):
                continue
            found[inode] = "%s %s:%d" % (table[:3], address, port)
    owners = _owners(proc, set(found))
    return sorted({"%s %s" % (text, owners.get(inode, "-")) for inode, text in found.items()})


def _sockets(path, state):
    for line in _lines(path)[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == state:
            address, port = fields[1].split(":")
            yield fields[9], _address(address), int(port, 16)


def _address(text):
    """Turn the kernel's words in host order into an address."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = struct.pack("=%dI" % len(words), *words)
    if len(words) == 1:
        return socket.inet_ntop(socket.AF_INET, packed)
    return "[%s]" % socket.inet_ntop(socket.AF_INET6, packed)


def _first_ephemeral(proc):
    fields = " ".join(_lines(os.path.join(proc, "sys/net/ipv4/ip_local_port_range"))).split()
    return int(fields[0]) if fields else 32768


def _owners(proc, inodes):
    """Map inodes of sockets to the names of the processes that have them open (the lowest pid)."""
    owners = {}
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        folder = os.path.join(proc, str(pid), "fd")
        for inode in _open_sockets(folder) & inodes:
            if inode not in owners:
                owners[inode] = "".join(_lines(os.path.join(proc, str(pid), "comm"))).strip()
    return owners


def _open_sockets(folder):
    found = set()
    try:
        for entry in os.listdir(folder):
            match = re.match(r"socket:\[(\d+)\]", os.readlink(os.path.join(folder, entry)))
            if match:
                found.add(match.group(1))
    except OSError:
        pass  # the process has ended meanwhile
    return found


def _lines(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readlines()
    except OSError:
        return []
