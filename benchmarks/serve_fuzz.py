"""`dermis serve` under malformed uploads: does it fail, does it grow, and does it still answer?

    python benchmarks/serve_fuzz.py [MODEL] [--uploads 10000] [--clients 4] [--keep FOLDER]

Half of the uploads are spoilt pictures in good requests (httpx, connections kept), half are spoilt requests (raw
sockets: multipart, lengths, chunks, headers, paths, texts). The service runs in a process of its own on the loopback
address with 4 MB a request. Without MODEL it serves a tiny model of pictures and texts with random weights, made here.
Memory is the service's resident memory after 1,000 valid and malformed requests, and at the end. Exit status 1 after
an answer of 5xx, growth above 10 % or another answer to the valid requests than before.
"""

import re
import select
import socket
import struct
import sys
import tempfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Annotated

import httpx
import numpy as np
import tyro
from measuring import megabytes
from PIL import Image
from service import served

MAX_BYTES = 4_000_000
ROUTES = ("embed", "embed", "classify", "concepts", "explain", "explain", "search", "generate")
FIELDS = b"text names template k where text_weight kind overlay dialogue rule texts".split()
FORM = b"multipart/form-data; boundary=B"
KINDS = [
    b"application/x-www-form-urlencoded",
    b"application/json",
    b"text/plain",
    b"image/jpeg",
    b"multipart/form-data",
]
STRANGE = ["\0", "../../etc/passwd", "\u202e\0", "a" * 190, "🦠\u0301" * 40, "\ud7ff\uffff", "{}{}", "&#55296;", "=<>"]
CHARSETS = [b"utf-7", b"unicode_escape", b"utf-16", b"idna", b"hex", b"punycode", b"x" * 500]
PATHS = [b"/page/../app.py", b"/page/%2e%2e/app.py", b"//etc/passwd", b"/page/%00", b"/page/" + b"a/" * 3000, b"*"]
PATHS += [b"/v1/cases/-1/image", b"/v1/cases/" + b"9" * 4400 + b"/image", b"/%ff%fe", b"/v1/embed?" + b"a=b&" * 5000]
PATIENCE = {"left at once": 0, "length too long": 0.3, "broken chunks": 0.3, "no HTTP": 0.3}
"""seconds after which a sender has no more to say; others wait for their answer"""


def pictures() -> list[bytes]:
    """Noise in every format and mode that is read."""
    noise_HWC = np.random.default_rng(0).integers(0, 255, (120, 160, 4), np.uint8)
    large = Image.fromarray(noise_HWC).convert("RGB").resize((1600, 1200))
    exif = Image.Exif()
    exif[274] = 6
    made = [(large, "JPEG", {}), (large, "JPEG", {"progressive": True})]
    made += [(Image.fromarray(noise_HWC.view(np.uint16)[..., 0]), file, {}) for file in ("PNG", "TIFF")]
    for modes, file, options in [
        (("RGB", "L", "CMYK"), "JPEG", {"exif": exif, "progressive": True}),
        (("RGBA", "P", "1", "LA"), "PNG", {"exif": exif}),
        (("RGBA", "RGB"), "WebP", {"exif": exif}),
        (("RGB", "CMYK", "L"), "TIFF", {"compression": "tiff_adobe_deflate"}),
        (("P", "RGB"), "GIF", {"save_all": True, "append_images": [large.resize((160, 120))]}),
        (("RGB", "P", "1"), "BMP", {}),
    ]:
        made += [(Image.fromarray(noise_HWC).convert(mode), file, options) for mode in modes]
    files = [BytesIO() for _ in made]
    for out, (picture, file, options) in zip(files, made, strict=True):
        picture.save(out, file, **options)
    return [out.getvalue() for out in files]


def png(width: int, height: int, said: tuple[int, int], rows: int) -> bytes:
    """A black PNG that begins by saying another size."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", *size, 1, 0, 0, 0, 0)) for size in (said, (width, height))]
    parts += [(b"IDAT", zlib.compress(bytes(1 + -(-width // 8)) * rows)), (b"IEND", b"")]
    told = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(told)


BOMBS = [
    png(30_000, 30_000, (30_000, 30_000), 1),
    png(9_000, 9_000, (64, 64), 9_000),
    png(8, 1_000_000, (8, 1_000_000), 1_000_000),
    b"GIF89a@\0@\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;",
]


def spoilt(rng: Random, base: list[bytes]) -> bytes:
    """A picture with up to three changes, half of them in its first bytes; one in a hundred is a bomb."""
    if rng.random() < 0.01:
        return rng.choice(BOMBS)
    data = bytearray(rng.choice(base))
    for _ in range(rng.randint(0, 3)):
        at, wrong = rng.randrange(rng.choice([64, len(data) + 1])), rng.randbytes(rng.randint(1, 12))
        wrong = rng.choice(
            [wrong, b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xda", rng.choice(base)[: rng.randint(1, 9000)]]
        )
        change = rng.choice(["cut", "flip", "over", "insert", "end"])
        if change == "cut":
            del data[at : at + rng.choice([1, 2, 50, 5000])]
        elif change == "flip" and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif change == "over":
            data[at : at + len(wrong)] = wrong
        elif change == "insert":
            data[at:at] = wrong
        else:
            del data[max(at, 8) :]
    return bytes(data)


def part(name: bytes, data: bytes, file: bytes | None = b"a.jpg", more: bytes = b"") -> bytes:
    named = b"" if file is None else b'; filename="%s"' % file
    return b'--B\r\nContent-Disposition: form-data; name="%s"%s\r\n%s\r\n%s\r\n' % (name, named, more, data)


def broken(rng: Random, picture: bytes) -> tuple[str, bytes]:
    """A request with something wrong, as it goes over the wire, and what that is."""
    pick, route, field = rng.choice, rng.choice(ROUTES).encode(), rng.choice(FIELDS)
    end, good = b"--B--\r\n", part(b"names", b"a", None) + part(b"image", picture)
    whole, many, odd = good + end, pick([100, 1500, 5000]), pick(STRANGE).encode()
    at, chunked = rng.randrange(len(whole)), b"Transfer-Encoding: chunked\r\n"
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(whole), whole)

    def post(body: bytes, kind: bytes = FORM, more: bytes = b"", length: object = None, first: bytes = b"") -> bytes:
        said = b"" if length == "" else b"Content-Length: %s\r\n" % str(length or len(body)).encode()
        first = first or b"POST /v1/" + route
        return b"%s HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\n%s%s\r\n%s" % (first, kind, said, more, body)

    def field_of(value: bytes, kind: bytes = FORM) -> bytes:
        return post(good + part(field, value, None) + end, kind)

    tries = {
        "wrong boundary": post(whole, FORM + pick([b"C", b'"', b"\xff", b"B" * 300])),
        "wrong content type": post(whole, pick(KINDS)),
        "form of signs": post(pick([b"&", b"a&", b"=", b"%"]) * 30_000, KINDS[0]),
        "no final boundary": post(good),
        "cut anywhere": post(whole[:at]),
        "length too long": post(whole, length=len(whole) + 500),
        "length too short": post(whole, length=at + 1),
        "length that is none": post(whole, length=pick(["-1", "x", "9" * 5000, "1, 2", "+5", 10**18])),
        "two lengths": post(whole, more=b"Content-Length: 7\r\n"),
        "no length": post(whole, length=""),
        "nested multipart": post(part(b"image", whole, more=b"Content-Type: multipart/mixed; boundary=B\r\n") + end),
        "no name": post(whole.replace(b"; name=", b"; nom=")),
        "no disposition": post(b"--B\r\n\r\n" + picture + b"\r\n" + end),
        "many fields": post(good + part(field, b"1", None) * many + end),
        "many files": post(part(b"image", b"x") * many + end),
        "huge field": field_of(b"a" * pick([3000, 1_200_000])),
        "too many bytes": post(whole + bytes(MAX_BYTES)),
        "strange file name": post(part(b"image", picture, odd) + end),
        "strange field name": post(part(odd, picture) + end),
        "strange text": field_of(odd),
        "words never seen": field_of(rng.randbytes(40).hex().encode()),
        "no UTF-8": field_of(rng.randbytes(30)),
        "strange charset": field_of(b"\\ud800+2AA-xn--a", FORM + b"; charset=" + pick(CHARSETS)),
        "wrong number": field_of(pick([b"nan", b"-1", b"9" * 5000, b"1e999", b"0x1", b"", b"true"])),
        "text as file": post(good + part(field, picture) + end),
        "picture as text": post(part(b"image", picture, None) + end),
        "same part again": post(good * 9 + part(b"dermoscopy", picture) + end),
        "empty parts": post((part(b"image", b"") + part(field, b"", None)) * 5 + end),
        "header of a part": post(part(b"image", picture, more=b"A: b\r\n" * many) + end),
        "chunked": post(chunks, more=chunked, length=pick(["", 9])),
        "broken chunks": post(pick([b"-1\r\nab", b"zz\r\n", chunks[:at], b"f" * 18 + b"\r\n"]), FORM, chunked, ""),
        "gigantic header": post(whole, more=b"X-A: " + b"a" * 200_000 + b"\r\n"),
        "many headers": post(whole, more=b"X-A: a\r\n" * many),
        "broken header": post(whole, more=pick([b"X\0: a\r\n", b": a\r\n", b"X-A: \xff\r\n", b"A B: c\r\n"])),
        "wrong method": post(whole, first=pick([b"PUT", b"GET", b"TRACE", b"HEAD", b"X" * 99]) + b" /v1/" + route),
        "strange path": post(whole, first=pick([b"GET ", b"POST "]) + pick(PATHS)),
        "upgrade": post(b"", more=b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n"),
        "no HTTP": pick([rng.randbytes(400), b"\x16\x03\x01" + rng.randbytes(90), b"GET /\r\n\r\n", b"\r\n" * 300]),
        "left at once": post(whole),
    }
    what = pick(list(tries))
    return what, tries[what]


def answer(port: int, request: bytes, patience: float) -> str:
    """The status that comes back for raw bytes; "none" if none does. After ``patience`` the sender ends."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=120) as wire:
            with suppress(OSError):  # it may be refused while it is being sent: the answer is there all the same
                wire.sendall(request)
            if not select.select([wire], [], [], patience)[0]:
                wire.shutdown(socket.SHUT_WR)
            said = wire.recv(4096)
    except OSError:
        return "none"
    found = re.match(rb"HTTP/1\.1 (\d{3})", said)
    return found[1].decode() if found else "none"


def upload(url: str, base: list[bytes], count: int, seed: int, keep: Path | None) -> Counter:
    """(what, status) of so many uploads, one after the other; what was answered with 5xx is kept."""
    rng, found = Random(seed), Counter()
    with httpx.Client(timeout=120) as session:
        for number in range(count):
            sent = spoilt(rng, base)
            if rng.random() < 0.5:
                route = rng.choice(ROUTES)
                what, data = f"picture to {route}", {"names": ["a", "b"]} if route == "classify" else {}
                try:
                    status = str(session.post(f"{url}/v1/{route}", files={"image": sent}, data=data).status_code)
                except httpx.TransportError:
                    status = "none"
            else:
                what, sent = broken(rng, sent if len(sent) < 20_000 else base[4])
                status = answer(httpx.URL(url).port or 80, sent, PATIENCE.get(what, 120))
            found[what, status] += 1
            if status[0] == "5":
                print(f"{status} for {what} ({len(sent):,} bytes, client {seed}, number {number})", flush=True)
                if keep is not None:
                    (keep / f"{status}-{what.replace(' ', '-')}-{seed}-{number}.bin").write_bytes(sent)
    return found


def valid(url: str, picture: bytes) -> np.ndarray:
    """All numbers that are answered to a few valid requests."""
    asked = [
        ("embed", {}),
        ("classify", {"names": ["melanoma", "nevus"]}),
        ("concepts", {}),
        ("explain", {"kind": "rollout"}),
    ]
    files, found = {"image": picture}, []
    for route, data in asked:
        got = httpx.post(f"{url}/v1/{route}", files=files, data=data, timeout=120).raise_for_status()
        found += re.findall(r"(?<=[:\[,])-?\d+\.\d+", got.text.split('"overlay"')[0])
    return np.array(found, float)


def tiny(folder: Path) -> str:
    from dermis.model import save
    from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower

    text = TextTowerConfig(width=32, layers=1, heads=2, context_length=16)
    towers = TwoTowerConfig(image=ImageTowerConfig(name="test_vit", size=32), text=text, embed_dim=24)
    return str(save(folder / "model", build_two_tower(towers, seed=0)))


def main(
    model: Annotated[str | None, tyro.conf.Positional] = None,
    uploads: int = 10_000,
    clients: int = 4,
    warm_up: int = 1_000,
    seed: int = 0,
    keep: Path | None = None,
) -> None:
    """Serve, upload, and say how it went."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        log = (keep or Path(folder)) / "service.log"
        limit = ("--max-bytes", str(MAX_BYTES))
        with served(model or tiny(Path(folder)), *limit, log=log) as (url, process):
            wrong = under_fire(url, process, uploads, clients, warm_up, seed, keep)
    sys.exit(wrong)


def under_fire(url: str, process: int, uploads: int, clients: int, warm_up: int, seed: int, keep: Path | None) -> bool:
    """Upload in steps, print the table; was anything wrong?"""
    base, found, sizes = pictures(), Counter(), []
    before = valid(url, base[0])
    steps = [warm_up, *[uploads // 10] * 10]
    with ThreadPoolExecutor(clients) as pool:
        for step, count in enumerate(steps):
            share = [seed + 1000 * step + client for client in range(clients)]
            for one in pool.map(lambda s, n=count: upload(url, base, n // clients, s, keep), share):
                found += one
            for _ in range(20 if step == 0 else 0):  # the warm-up has valid requests too
                valid(url, base[0])
            sizes.append(megabytes(process=process))
            print(f"after {sum(found.values()):,} uploads {sizes[-1]:.0f} MB", flush=True)
    same = np.allclose(before, valid(url, base[0]), atol=1e-5)
    statuses = sorted({status for _, status in found})
    print(f"\n| sent | {' | '.join(statuses)} |\n|---|{'---|' * len(statuses)}")
    for what in sorted({what for what, _ in found}):
        print(f"| {what} | {' | '.join(str(found[what, status] or '') for status in statuses)} |")
    totals = Counter()
    for (_, status), count in found.items():
        totals[status] += count
    print(f"| all {sum(totals.values()):,} | {' | '.join(f'{totals[status]:,}' for status in statuses)} |")
    growth = 100 * (sizes[-1] / sizes[0] - 1)
    print(f"\nmemory: {sizes[0]:.0f} MB after the warm-up, {sizes[-1]:.0f} MB at the end ({growth:+.1f} %), ", end="")
    failed = sum(count for status, count in totals.items() if status[0] == "5")
    print(f"at most {megabytes('VmHWM', process):.0f} MB; {failed} failures; the same answers as before: {same}")
    return bool(failed) or growth > 10 or not same


if __name__ == "__main__":
    tyro.cli(main)
