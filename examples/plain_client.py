"""A car in plain `msgpack`: says hello, takes one frame, clicks in its middle, says bye. For ports to other languages.

    python examples/plain_client.py unix:/run/idlehands/desktop JOB OWNER_EPOCH [TOKEN]
    python examples/plain_client.py tls://host:port JOB OWNER_EPOCH [TOKEN] --identity FOLDER

What the numbers mean stands in runtime/wire/PROTOCOL.md. Prints one JSON object: what the desktop said.
"""

import hashlib
import json
import socket
import ssl
import struct
import sys
import time
from collections import OrderedDict
from pathlib import Path

import msgpack
import zstandard

HELLO, CREDIT, ACT, HEARTBEAT, BYE, HELLO_ANSWER, FRAME_PART, ACT_RESULT = 1, 2, 3, 4, 5, 33, 34, 35
CLICK, LEFT, JOB_OVER, RAW, ZSTD_BEGIN = 2, 1, 1, 0, 1
SEEN_BYTES = 8 << 20


class Link:
    """Length-prefixed messages over a socket; a heartbeat goes out whenever nothing came for a quarter of a second."""

    def __init__(self, url, identity=None):
        if url.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(url[5:])
        else:
            host, _, port = url.removeprefix("tls://").rpartition(":")
            trusted = [path.read_text() for path in Path(identity, "trusted").glob("*.pem")]
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version, context.check_hostname = ssl.TLSVersion.TLSv1_3, False
            context.load_cert_chain(Path(identity, "certificate.pem"), Path(identity, "key.pem"))
            context.load_verify_locations(cadata="".join(trusted))
            context.set_alpn_protocols(["idlehands/1"])
            self.socket = context.wrap_socket(socket.create_connection((host, int(port))))
            pinned = {hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest() for pem in trusted}
            assert hashlib.sha256(self.socket.getpeercert(True)).digest() in pinned
        self.socket.settimeout(0.25)

    def send(self, *message):
        payload = msgpack.packb(message)
        self.socket.sendall(struct.pack("<I", len(payload)) + payload)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except TimeoutError:
                self.send(HEARTBEAT, time.monotonic_ns())
                continue
            if not piece:
                raise ConnectionError("the desktop ended the link without a bye")
            data += piece
        return data

    def receive(self, *wanted):
        """Returns the fields of the next message that is `wanted`; raises if the desktop says bye before."""
        while True:
            number, *fields = msgpack.unpackb(self.exactly(struct.unpack("<I", self.exactly(4))[0]))
            if number in wanted:
                return fields
            if number == BYE:
                raise ConnectionError(f"the desktop said bye: close reason {fields}")


class Screen:
    """The desktop's screen as rows of B G R, put together from frame parts."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.rows = [bytearray(3 * width) for _ in range(height)]
        self.seen, self.seen_bytes, self.inflate = OrderedDict(), 0, None

    def box(self, index, tiles=1):
        columns = -(-self.width // 64)
        x, y = index % columns * 64, index // columns * 64
        return x, y, min(64 * tiles, self.width - x), min(64, self.height - y)

    def runs(self, fresh):
        first = count = -1
        for index in [*fresh, None]:
            if index is not None and index == first + count and index % -(-self.width // 64) and count < 32:
                count += 1
                continue
            if first >= 0:
                yield self.box(first, count)
            first, count = index, 1

    def apply(self, tiles, encoding, data):
        records = [(*struct.unpack_from("<HH", tiles, at), tiles[at + 4 : at + 20]) for at in range(0, len(tiles), 20)]
        if encoding == ZSTD_BEGIN:
            self.inflate = zstandard.ZstdDecompressor(max_window_size=1 << 23).decompressobj()
        pixels, at = data if encoding == RAW else self.inflate.decompress(data), 0
        for x, y, w, h in self.runs(index for index, flags, _ in records if not flags):
            for row in range(h):
                if encoding == RAW:
                    line = pixels[at + 4 * w * row : at + 4 * w * (row + 1)]
                    planes = [line[0::4], line[1::4], line[2::4]]
                else:
                    planes = [pixels[at + w * (h * c + row) : at + w * (h * c + row + 1)] for c in range(3)]
                self.rows[y + row][3 * x : 3 * (x + w)] = bytes(v for pixel in zip(*planes, strict=True) for v in pixel)
            at += w * h * (4 if encoding == RAW else 3)
        for index, flags, name in records:
            x, y, w, h = self.box(index)
            if flags:
                self.seen.move_to_end(name)
                for row, line in enumerate(self.seen[name]):
                    self.rows[y + row][3 * x : 3 * (x + w)] = line
                continue
            self.seen_bytes += w * h * 4 - 4 * sum(map(len, self.seen.pop(name, []))) // 3
            self.seen[name] = [bytes(self.rows[y + row][3 * x : 3 * (x + w)]) for row in range(h)]
            while self.seen_bytes > SEEN_BYTES:
                self.seen_bytes -= 4 * sum(map(len, self.seen.popitem(last=False)[1])) // 3


def main(url, job, owner_epoch, token="", identity=None):
    link = Link(url, identity)
    link.send(HELLO, 1, job, int(owner_epoch), token.encode(), "plain client", "none", ["zstd"], 1)
    _, _, width, height, _, _, last_seq, last_outcome, *_ = link.receive(HELLO_ANSWER)
    link.send(CREDIT, 1)
    screen, last = Screen(width, height), False
    while not last:
        frame, _, _, _, _, tiles, encoding, data, last = link.receive(FRAME_PART)[:9]
        screen.apply(tiles, encoding, data)
    link.send(ACT, job, int(owner_epoch), last_seq + 1, frame, [CLICK, width // 2, height // 2, LEFT, 1, []], None)
    seq, outcome, reason, *_ = link.receive(ACT_RESULT)
    link.send(BYE, JOB_OVER, "")
    (reason_of_end, *_) = link.receive(BYE)
    shown = hashlib.sha256(b"".join(screen.rows)).hexdigest()
    print(json.dumps({"last": [last_seq, last_outcome], "frame": frame, "bgr_sha256": shown, "seq": seq,
                      "outcome": outcome, "reason": reason, "end": reason_of_end}))  # fmt: skip


if __name__ == "__main__":
    arguments = sys.argv[1:]
    folder = arguments[arguments.index("--identity") + 1] if "--identity" in arguments else None
    main(*[a for a in arguments if a not in ("--identity", folder)], identity=folder)
