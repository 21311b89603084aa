#!/usr/bin/env python3
"""thriftpy2 as a client and a server of plain Thrift.

    peer.py serve HOST PORT framed|buffered binary|compact    serves until it is ended
    peer.py call HOST PORT framed|buffered binary|compact [echo]
                        prints how its calls ended, a line each; with `echo` without one that is denied
"""
import io
import sys

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.rpc import make_client, make_server
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory

IDL = """
exception Denied { 1: i32 code, 2: string reason }
service Echo {
  binary echo(1: binary data)
  binary deny(1: binary data) throws (1: Denied denied)
  oneway void tell(1: binary data)
  i32 told()
}
"""

# Of binary, as bytes.
thrift = thriftpy2.load_fp(io.StringIO(IDL), "echo_thrift")


class Service:
    def __init__(self):
        self.calls = 0

    def echo(self, data):
        return data

    def deny(self, data):
        raise thrift.Denied(403, "not today")

    def tell(self, data):
        self.calls += 1

    def told(self):
        return self.calls


def how(framing, encoding):
    framings = {"framed": TFramedTransportFactory, "buffered": TBufferedTransportFactory}
    encodings = {"binary": TBinaryProtocolFactory, "compact": TCompactProtocolFactory}
    return {"trans_factory": framings[framing](), "proto_factory": encodings[encoding]()}


def serve(host, port, framing, encoding):
    server = make_server(thrift.Echo, Service(), host, int(port), **how(framing, encoding))
    server.trans.listen()
    print("listening", flush=True)
    # It would listen again.
    server.trans.listen = lambda: None
    server.serve()


def call(host, port, framing, encoding, only=None):
    client = make_client(thrift.Echo, host, int(port), timeout=20_000, **how(framing, encoding))
    for size in (0, 200, 40_000):
        # Not to be taken for text.
        data = bytes(n % 251 for n in range(size)) + b"\xff"
        print("echo", size, client.echo(data) == data)
    try:
        if not only:
            print("deny", client.deny(b"x"))
    except thrift.Denied as denied:
        print("deny", denied.code, denied.reason)
    except TApplicationException as exception:
        print("deny", exception.type, exception.message)
    client.tell(b"x")
    print("echo after tell", client.echo(b"again") == b"again")
    client.close()


{"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
