#!/usr/bin/env python3
"""thriftpy2 as the peer of tests/thriftpy.rs.

    peer.py write   prints messages, one a line: encoding, kind, method, sequence, hexadecimal bytes
    peer.py read    reads lines of encoding and hexadecimal bytes, and prints what each message says:
                    kind, method, sequence, and of an exception its type and text
"""
import io
import sys

import thriftpy2
from thriftpy2.protocol import TBinaryProtocol, TCompactProtocol
from thriftpy2.thrift import TApplicationException, TMessageType
from thriftpy2.transport import TFramedTransport, TMemoryBuffer

IDL = """
struct Inner { 1: bool yes, 2: byte small, 300: i64 far, 301: list<bool> flags }
struct Order {
  1: bool yes, 2: bool no, 3: byte b, 4: i16 s, 5: i32 i, 6: i64 l, 7: double d, 8: string text,
  9: binary raw, 10: list<i32> numbers, 11: set<string> names, 12: map<string, Inner> inner,
  13: Inner one, 14: list<Inner> many, 15: map<i32, i64> plain, 16: list<list<string>> nested,
  40: map<string, list<Inner>> deep
}
service Shop { Order buy(1: Order order) oneway void fire(1: string text) void ping() }
"""

shop = thriftpy2.load_fp(io.StringIO(IDL), "shop_thrift")

PROTOCOLS = {"binary": TBinaryProtocol, "compact": TCompactProtocol}


def order(size):
    inner = shop.Inner(yes=True, small=-3, far=-(2**60), flags=[True, False] * size)
    return shop.Order(
        yes=True, no=False, b=7, s=-1234, i=2**31 - 1, l=-(2**63), d=1.5, text="t" * size, raw=b"\x00\x80" * size,
        numbers=list(range(-size, size)), names={str(n) for n in range(size)},
        inner={str(n): inner for n in range(size % 7)}, one=inner, many=[inner] * (size % 20),
        plain={n: n << 40 for n in range(size)}, nested=[["a", "b"], [], ["c"] * size],
        deep={"x": [inner, inner], "y": []},
    )


def messages():
    call, reply, oneway, exception = (
        TMessageType.CALL, TMessageType.REPLY, TMessageType.ONEWAY, TMessageType.EXCEPTION)
    for size in (0, 1, 3, 16, 200):
        yield call, "buy", size, shop.Shop.buy_args(order=order(size))
        yield reply, "buy", 2**31 - 1 - size, shop.Shop.buy_result(success=order(size))
    yield call, "ping", -1, shop.Shop.ping_args()
    yield reply, "ping", 300, shop.Shop.ping_result()
    yield oneway, "fire", 2**20, shop.Shop.fire_args(text="go")
    yield exception, "buy", 5, TApplicationException(TApplicationException.INTERNAL_ERROR, "full")


def transport(framing, buffer):
    return TFramedTransport(buffer) if framing == "framed" else buffer


def write():
    for encoding in ("binary", "compact"):
        for framing in ("framed", "buffered"):
            for kind, method, sequence, body in messages():
                if encoding == "compact" and sequence < 0:
                    continue  # thriftpy2 would shift a negative varint for ever
                buffer = TMemoryBuffer()
                protocol = PROTOCOLS[encoding](transport(framing, buffer))
                protocol.write_message_begin(method, kind, sequence)
                body.write(protocol)
                protocol.write_message_end()
                protocol.trans.flush()
                print(encoding, framing, kind, method, sequence, buffer.getvalue().hex())


def read():
    for line in sys.stdin:
        encoding, framing, bytes_ = line.split()
        buffer = TMemoryBuffer(bytes.fromhex(bytes_))
        protocol = PROTOCOLS[encoding](transport(framing, buffer))
        method, kind, sequence = protocol.read_message_begin()
        if kind == TMessageType.EXCEPTION:
            exception = TApplicationException()
            exception.read(protocol)
            print(kind, method, sequence, exception.type, exception.message)
        else:
            shop.Shop.ping_result().read(protocol)
            print(kind, method, sequence)
        protocol.read_message_end()


{"write": write, "read": read}[sys.argv[1]]()
