"""Archives that are damaged or hostile."""

from __future__ import annotations

import gzip
import zipfile

from breaking import (
    DATA,
    END,
    GOOD,
    GOOD_TAR,
    GOOD_TGZ,
    GOOD_ZIP,
    GRAPH,
    GRAPH_ENTRY,
    MIB,
    Broken,
    encrypted,
    entry,
    gzipped,
    header,
    overlapping,
    patched,
    pax,
    raw,
    resum,
    tar,
    zeros,
    zip_info,
    zip_stating,
    zip_with_name,
    zipped,
)

from nnefc.errors import UnsupportedError

ONLY_PLAIN = "only plain files are accepted"
TARS = {
    "no graph": Broken(tar(entry("w.dat", DATA)), "there is no graph.nnef in it"),
    "empty": Broken(tar(), "there is no graph.nnef in it"),
    "folder packed whole": Broken(
        tar(entry("m/graph.nnef", GRAPH)), "there is no graph.nnef in it; it holds 'm/graph.nnef'"
    ),
    "nested archive": Broken(tar(entry("m.tgz", DATA)), "there is no graph.nnef in it; it holds 'm.tgz'"),
    "symbolic link": Broken(
        tar(GRAPH_ENTRY, entry("w.dat", kind=b"2", link="/etc/passwd")),
        f"the member 'w.dat' is a symbolic link; {ONLY_PLAIN}",
    ),
    "hard link": Broken(
        tar(GRAPH_ENTRY, entry("w.dat", kind=b"1", link="../v.dat")), f"the member 'w.dat' is a hard link; {ONLY_PLAIN}"
    ),
    "device": Broken(tar(GRAPH_ENTRY, entry("w.dat", kind=b"3")), f"the member 'w.dat' is a device; {ONLY_PLAIN}"),
    "pipe": Broken(tar(GRAPH_ENTRY, entry("w.dat", kind=b"6")), f"the member 'w.dat' is a named pipe; {ONLY_PLAIN}"),
    "sparse member": Broken(
        tar(GRAPH_ENTRY, entry("w.dat", kind=b"S", size=0)), f"the member 'w.dat' is a sparse file; {ONLY_PLAIN}"
    ),
    "sparse member of pax": Broken(
        tar(GRAPH_ENTRY, pax(b"22 GNU.sparse.major=1\n"), entry("w.dat", DATA)),
        f"the member 'w.dat' is a sparse file; {ONLY_PLAIN}",
    ),
    "unknown type": Broken(
        tar(GRAPH_ENTRY, entry("w.dat", kind=b"Z")), f"the member 'w.dat' is of the unknown type 'Z'; {ONLY_PLAIN}"
    ),
    "absolute name": Broken(tar(entry("/graph.nnef", GRAPH)), "the member '/graph.nnef' leads out of the archive"),
    "climbing name": Broken(
        tar(GRAPH_ENTRY, entry("a/../../w.dat", DATA)), "the member 'a/../../w.dat' leads out of the archive"
    ),
    "name that climbs with backslashes": Broken(
        tar(GRAPH_ENTRY, entry("a\\..\\w.dat", DATA)), r"the member 'a\\..\\w.dat' leads out of the archive"
    ),
    "name on a drive": Broken(
        tar(GRAPH_ENTRY, entry("C:w.dat", DATA)), "the member 'C:w.dat' leads out of the archive"
    ),
    "climbing name of pax": Broken(
        tar(GRAPH_ENTRY, pax(b"17 path=../w.dat\n"), entry("w.dat", DATA)),
        "the member '../w.dat' leads out of the archive",
    ),
    "climbing long name": Broken(
        tar(GRAPH_ENTRY, entry("L", b"../w.dat\0", kind=b"L"), entry("w.dat", DATA)),
        "the member '../w.dat' leads out of the archive",
    ),
    "twice": Broken(tar(GRAPH_ENTRY, entry("./graph.nnef", GRAPH)), "the archive holds the member 'graph.nnef' twice"),
    "nameless": Broken(tar(entry(".", GRAPH)), "a member has no name"),
    "cut inside a header": Broken(
        tar(GRAPH_ENTRY, entry("w.dat", DATA)[:300], end=b""),
        "the tar archive is cut off: it has no end-of-archive mark",
    ),
    "cut after a member": Broken(
        tar(GRAPH_ENTRY, end=b""), "the tar archive is cut off: it has no end-of-archive mark"
    ),
    "cut inside a member": Broken(
        tar(GRAPH_ENTRY, entry("w.dat", bytes(4096))[:1000], end=b""),
        "the tar archive is cut off inside its member 'w.dat'",
    ),
    "size of 8 TiB": Broken(
        tar(GRAPH_ENTRY, entry("w.dat", DATA, size=8 << 40)), "the tar archive is cut off inside its member 'w.dat'"
    ),
    "size beyond all": Broken(
        tar(GRAPH_ENTRY, pax(b"30 size=9999999999999999999999\n"[:31].replace(b"30", b"31")), entry("w.dat", DATA)),
        "the tar archive is damaged: a size is written as b'9999999999999999999999'",
    ),
    "negative size": Broken(
        tar(GRAPH_ENTRY, resum(entry("w.dat")[:124] + b"\xff" * 12 + entry("w.dat")[136:])),
        "the tar archive is damaged: a size is written as b'" + r"\xff" * 12 + "'",
    ),
    "size in words": Broken(
        tar(GRAPH_ENTRY, resum(entry("w.dat")[:124] + b"twelve bytes" + entry("w.dat")[136:])),
        "the tar archive is damaged: a size is written as b'twelve bytes'",
    ),
    "checksum": Broken(
        tar(GRAPH_ENTRY, b"v" + entry("w.dat", DATA)[1:]),
        "the tar archive is damaged: the checksum of the header at byte 1024 is wrong",
    ),
    "extended header of 1 GiB": Broken(
        tar(entry("x", kind=b"x", size=1 << 30)), "an extended header of the tar archive has 1073741824 bytes, too many"
    ),
    "extended header cut": Broken(
        tar(entry("x", kind=b"L", size=5000), end=b""), "the tar archive is cut off inside an extended header"
    ),
    "extended header malformed": Broken(
        tar(pax(b"99 path=w.dat\n")), "the tar archive has a malformed extended header at b'99 path=w.dat\\n'"
    ),
    "too many members": Broken(
        raw("m.tgz", lambda: gzip.compress(entry("d/", kind=b"5") * 65_537, 1)),
        "the archive has more than 65536 members",
    ),
    "called tar": Broken(raw("m.tar", GRAPH * 9), "it holds no tar archive: it does not start with a tar header"),
    "of no bytes": Broken(raw("m.tar", b""), "the tar archive is cut off: it has no end-of-archive mark"),
}

LIMIT = "it unfolds to more than 536870912 bytes, the most for a compressed file of this size"
ONE_BIT = 1 << 28


GZIPS = {
    "cut": Broken(raw("m.tgz", GOOD_TGZ[:-30]), "the gzip data is cut off"),
    "cut inside the checksum": Broken(raw("m.tgz", GOOD_TGZ[:-5]), "the gzip data is cut off"),
    "checksum": Broken(
        raw("m.tgz", GOOD_TGZ[:-8] + b"\0\0\0\0" + GOOD_TGZ[-4:]),
        "the gzip data is damaged: Error -3 while decompressing data: incorrect data check",
    ),
    "length": Broken(
        raw("m.tgz", GOOD_TGZ[:-4] + b"\0\0\0\0"),
        "the gzip data is damaged: Error -3 while decompressing data: incorrect length check",
    ),
    "noise after it": Broken(
        raw("m.tgz", GOOD_TGZ + b"noise"),
        "the gzip data is damaged: Error -3 while decompressing data: incorrect header check",
    ),
    "noise in it": Broken(
        raw("m.tgz", GOOD_TGZ[:10] + b"\xff" * 40 + GOOD_TGZ[50:]),
        "the gzip data is damaged: Error -3 while decompressing data: invalid block type",
    ),
    "of a text": Broken(
        raw("graph.nnef.gz", gzip.compress(GRAPH * 9)), "it holds no tar archive: it does not start with a tar header"
    ),
    "of gzip": Broken(
        raw("m.tgz", gzip.compress(GOOD_TGZ * 9)), "it holds no tar archive: it does not start with a tar header"
    ),
    "tar cut inside": Broken(
        gzipped(GRAPH_ENTRY + entry("w.dat", bytes(4096))[:1000]),
        "the tar archive is cut off inside its member 'w.dat'",
    ),
    "tensor shorter than its header says": Broken(
        gzipped(GRAPH_ENTRY + entry("w.dat", header(extents=(2**20, 1), length=2**22) + DATA) + END),
        "the file has 152 bytes, but its header describes 4194432 (128 and 4194304 of data)",
        "/w.dat",
        "w",
    ),
    "too many parts": Broken(
        raw("m.tgz", lambda: gzip.compress(GOOD_TAR) + gzip.compress(b"") * 70_000),
        "the gzip data has more than 65536 parts",
    ),
}

ZIPS = {
    "no graph": Broken(
        raw("m.zip", zipped(("a/graph.nnef", GRAPH))), "there is no graph.nnef in it; it holds 'a/graph.nnef'"
    ),
    "empty": Broken(raw("m.zip", zipped()), "there is no graph.nnef in it"),
    "encrypted": Broken(
        raw("m.zip", encrypted()),
        "the member is encrypted; encrypted archives are not supported",
        "/graph.nnef",
        None,
        UnsupportedError,
    ),
    "bzip2 inside": Broken(
        raw("m.zip", zipped(("graph.nnef", GRAPH), method=zipfile.ZIP_BZIP2)),
        "the member is compressed with bzip2; stored and deflate are supported",
        "/graph.nnef",
        None,
        UnsupportedError,
    ),
    "lzma inside": Broken(
        raw("m.zip", zipped(("graph.nnef", GRAPH), method=zipfile.ZIP_LZMA)),
        "the member is compressed with lzma; stored and deflate are supported",
        "/graph.nnef",
        None,
        UnsupportedError,
    ),
    "climbing name": Broken(
        raw("m.zip", zipped((zip_info("../w.dat"), DATA))), "the member '../w.dat' leads out of the archive"
    ),
    "absolute name": Broken(raw("m.zip", zip_with_name("/w.dat")), "the member '/w.dat' leads out of the archive"),
    "name on a drive": Broken(
        raw("m.zip", zip_with_name("C:\\w.dat")), r"the member 'C:\\w.dat' leads out of the archive"
    ),
    "twice": Broken(
        raw("m.zip", patched(patched(zipped(*GOOD.items(), ("v.dat", b"")), b"v.dat", b"w.dat"), b"v.dat", b"w.dat")),
        "the archive holds the member 'w.dat' twice",
    ),
    "symbolic link": Broken(
        raw("m.zip", zipped(("graph.nnef", GRAPH), (zip_info("w.dat", mode=0o120777), b"/etc/passwd"))),
        f"the member 'w.dat' is a symbolic link; {ONLY_PLAIN}",
    ),
    "device": Broken(
        raw("m.zip", zipped((zip_info("w.dat", mode=0o020666), b""))), f"the member 'w.dat' is a device; {ONLY_PLAIN}"
    ),
    "checksum": Broken(
        raw("m.zip", patched(zipped(*GOOD.items(), method=zipfile.ZIP_STORED), DATA[-4:], b"\0\0\0\0")),
        "the member is damaged: Bad CRC-32 for file 'w.dat'",
        "/w.dat",
        "w",
    ),
    "cut": Broken(raw("m.zip", GOOD_ZIP[:-30]), "the zip archive is damaged: File is not a zip file"),
    "data gone": Broken(
        raw("m.zip", GOOD_ZIP[:4] + GOOD_ZIP[GOOD_ZIP.index(b"PK\1\2") :]),
        "the member is damaged: Invalid argument",
        "/graph.nnef",
    ),
    "directory damaged": Broken(
        raw("m.zip", patched(GOOD_ZIP, b"PK\1\2", b"PK\1\3", last=False)),
        "the zip archive is damaged: Bad magic number for central directory",
    ),
    "stated too large": Broken(
        raw("m.zip", zip_stating(2**20)),
        "the file has 1048576 bytes, but its header describes 152 (128 and 24 of data)",
        "/w.dat",
        "w",
    ),
    "stated too small": Broken(
        raw("m.zip", zip_stating(140)),
        "the member is damaged: Bad CRC-32 for file 'w.dat'",
        "/w.dat",
        "w",
    ),
    "bomb": Broken(
        raw("m.zip", lambda: overlapping(9)),
        "it unfolds to 603979851 bytes; the most for a compressed file of this size is 536870912",
    ),
    "overlapping members": Broken(
        raw("m.zip", lambda: overlapping(60_000)),
        "it unfolds to 4026531840075 bytes; the most for a compressed file of this size is 536870912",
    ),
}

ONE_BIT_BYTES = header(rank=1, extents=(ONE_BIT,), length=ONE_BIT // 8, bits=1, item=1) + bytes(ONE_BIT // 8)
TOO_WIDE = (
    f"a tensor of shape [{ONE_BIT}] takes {8 * ONE_BIT} bytes, "
    "more than the 536870912 that a compressed file of this size may unfold to"
)
BOMBS = {
    "gzip of zeros": Broken(gzipped(bytes(512), zeros(20_480)), LIMIT),
    "tensor in gzip": Broken(gzipped(GRAPH_ENTRY, entry("w.dat", size=20 << 30), zeros(20_480)), LIMIT),
    "foreign member in gzip": Broken(gzipped(entry("logo.png", size=20 << 30), zeros(20_480)), LIMIT),
    "text in gzip": Broken(
        gzipped(entry("graph.nnef", size=448 * MIB), zeros(448), END),
        "the text has 469762048 bytes; at most 16777216 are accepted",
        "/graph.nnef",
    ),
    "bits in gzip": Broken(gzipped(GRAPH_ENTRY, entry("w.dat", ONE_BIT_BYTES), END), TOO_WIDE, "/w.dat", "w"),
    "bits in zip": Broken(
        raw("m.zip", lambda: zipped(("graph.nnef", GRAPH), ("w.dat", ONE_BIT_BYTES))), TOO_WIDE, "/w.dat", "w"
    ),
    "overlapping members in zip": ZIPS["overlapping members"],
    "too many parts in gzip": GZIPS["too many parts"],
    "too many members in gzip": TARS["too many members"],
}
