"""What a kernel without VLANs lacks: `vlan.py LINK INSIDE ID` carries frames between LINK, where they have the
tag of VLAN ID, and INSIDE, where they have none; `vlan.py LINK ask TAGS` asks once on LINK who has 10.77.1.1,
behind tags in hexadecimal."""

import select
import socket
import struct
import sys

SOL_PACKET, AUXDATA, IGNORE_OUTGOING = 263, 8, 23
SO_RCVBUFFORCE = 33
VLAN_VALID = 0x10


def raw(name):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    link.bind((name, 0))
    link.setsockopt(SOL_PACKET, AUXDATA, 1)
    link.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
    link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    return link


def receive(link):
    """A frame without its tag, and the tag; the kernel takes tags off whether it knows VLANs or not."""
    frame, extra, _, _ = link.recvmsg(1 << 16, 256)
    for _, _, data in extra:
        status, tag = struct.unpack_from("I12xH", data)
        if status & VLAN_VALID:
            return frame, tag & 0xFFF
    return frame, None


def carry(link, inside, vlan):
    tag = struct.pack("!HH", 0x8100, vlan)
    while True:
        for ready in select.select([link, inside], [], [])[0]:
            frame, of = receive(ready)
            if ready is inside:
                link.send(frame[:12] + tag + frame[12:])
            elif of == vlan:
                inside.send(frame)


def ask(link, tags):
    mac = bytes([2, 0, 0, 0, 0, 9])
    question = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac + bytes([10, 77, 1, 9])
    link.send(b"\xff" * 6 + mac + tags + b"\x08\x06" + question + bytes(6) + bytes([10, 77, 1, 1]) + bytes(18))


if sys.argv[2] == "ask":
    ask(raw(sys.argv[1]), bytes.fromhex(sys.argv[3]))
else:
    links = raw(sys.argv[1]), raw(sys.argv[2])
    print("carrying", flush=True)
    carry(*links, int(sys.argv[3]))
