"""Tensor files: every item type and width, there and back, and agreement with the reference reader."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.nnef.tensor import parse_header, read_tensor, stores, tensor_of, tensor_parts, values, write_tensor
from nnefc.ir.graph import Tensor
from nnefc.ir.types import DType

ITEMS = ("float", "uint", "quint", "qint", "int", "bool")


def header(*, length, shape, bits, code, parameters=b"", version=(1, 0)):
    extents = (*shape, *[0] * (8 - len(shape)))
    fields = struct.pack("<2sBBII8III", b"N\xef", *version, length, len(shape), *extents, bits, code)
    return fields + parameters.ljust(76, b"\0")


def naive_codes(data: bytes, bits: int, count: int) -> list[int]:
    """The stream rule, spelled out bit by bit; whole bytes are little-endian."""
    if bits % 8 == 0:
        step = bits // 8
        return [int.from_bytes(data[i * step : (i + 1) * step], "little") for i in range(count)]
    stream = "".join(f"{byte:08b}" for byte in data)
    return [int(stream[i * bits : (i + 1) * bits], 2) for i in range(count)]


shapes = st.lists(st.integers(1, 5), max_size=4).map(tuple)


@st.composite
def integer_tensors(draw: st.DrawFn) -> Tensor:
    item, bits, shape = draw(st.sampled_from(["uint", "quint", "qint", "int"])), draw(st.integers(1, 64)), draw(shapes)
    signed = item in ("qint", "int")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    count = int(np.prod(shape))
    codes = draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
    size = next(s for s in (1, 2, 4, 8) if bits <= 8 * s)
    data = np.array(codes, f"{'i' if signed else 'u'}{size}").reshape(shape)
    return Tensor(data, item, bits, draw(st.binary(max_size=76)).rstrip(b"\0") if item != "uint" else b"")


@given(integer_tensors())
@settings(max_examples=400, deadline=None)
def test_integers_of_any_width_come_back(tensor):
    written = write_tensor(tensor)
    assert read_tensor(io.BytesIO(written), len(written), "w.dat") == tensor
    assert read_tensor(written, len(written), "w.dat") == tensor
    count = tensor.data.size
    assert len(written) == 128 + -(-count * tensor.bits // 8)
    codes = naive_codes(written[128:], tensor.bits, count)
    assert codes == [int(v) % 2**tensor.bits for v in tensor.data.reshape(-1)]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_valid_file_is_written_back_bit_for_bit(data):
    item = data.draw(st.sampled_from(range(6)))
    widths = {0: st.sampled_from([16, 32, 64]), 5: st.sampled_from([1, 8])}.get(item, st.integers(1, 64))
    bits, shape = data.draw(widths), data.draw(shapes)
    total = int(np.prod(shape)) * bits
    length = (total + 7) // 8
    body = bytearray(data.draw(st.binary(min_size=length, max_size=length)))
    if total % 8:
        body[-1] &= 0xFF00 >> (total % 8) & 0xFF
    parameters = data.draw(st.one_of(st.just(b""), st.binary(max_size=76)))
    file = header(length=length, shape=shape, bits=bits, code=item, parameters=parameters) + bytes(body)
    tensor = read_tensor(io.BytesIO(file), len(file), "w.dat")
    assert tensor.data.shape == shape and tensor.item == ITEMS[item] and tensor.bits == bits
    assert write_tensor(tensor) == file


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2.25]], np.float16),
        np.array([np.nan, np.inf, -0.0, 1e-45], np.float32),
        np.array(3.141592653589793),
        np.arange(-4, 4, dtype=np.int8),
        np.array([[2**64 - 1]], np.uint64),
        np.array([True, False, True, True, False, True, False, False, True]),
        np.arange(24, dtype=">i4").reshape(2, 3, 4).transpose(2, 0, 1),
    ],
    ids=lambda a: str(a.dtype),
)
def test_tensor_of_chooses_the_natural_item(array):
    tensor = tensor_of(array)
    back = read_tensor(write_tensor(tensor), 0, "w.dat")
    assert back == tensor and back.item in ("float", "int", "uint", "bool")
    np.testing.assert_array_equal(back.data, array)
    assert back.bits == (1 if array.dtype == bool else array.dtype.itemsize * 8)


def test_one_bit_bools_fill_bytes_from_the_top():
    assert write_tensor(tensor_of(np.array([True] + [False] * 8 + [True])))[128:] == b"\x80\x40"


def test_twelve_and_twenty_four_bits_by_hand():
    twelve = Tensor(np.array([0xABC, 0xDEF, 0x123], np.uint16), "uint", 12)
    assert write_tensor(twelve)[128:] == bytes.fromhex("abcdef1230")
    four = Tensor(np.array([-8, 7, -1], np.int8), "qint", 4)
    assert write_tensor(four)[128:] == bytes.fromhex("87f0")
    wide = Tensor(np.array([-2], np.int32), "int", 24)
    assert write_tensor(wide)[128:] == bytes.fromhex("feffff")


def test_old_signed_integers_are_honoured_and_kept():
    file = header(length=2, shape=(2,), bits=8, code=1, parameters=struct.pack("<I", 1)) + b"\xff\x01"
    tensor = read_tensor(file, len(file), "w.dat")
    assert tensor.data.tolist() == [-1, 1] and tensor.item == "uint"
    assert values(tensor, DType.I64).tolist() == [-1, 1]
    assert write_tensor(tensor) == file


def test_old_quantization_range_is_kept():
    file = header(length=1, shape=(1,), bits=8, code=2, parameters=struct.pack("<ff", -1.0, 1.0)) + b"\x80"
    tensor = read_tensor(file, len(file), "w.dat")
    assert struct.unpack("<ff", tensor.header) == (-1.0, 1.0)
    assert write_tensor(tensor) == file


def test_eight_bit_bools_keep_their_bytes():
    file = header(length=3, shape=(3,), bits=8, code=5) + b"\x00\x02\xff"
    tensor = read_tensor(file, len(file), "w.dat")
    assert values(tensor, DType.BOOL).tolist() == [False, True, True]
    assert write_tensor(tensor) == file


def test_arrays_are_frozen_and_buffers_are_not_copied():
    file = bytearray(write_tensor(tensor_of(np.arange(6, dtype=np.float32).reshape(2, 3))))
    tensor = read_tensor(file, len(file), "w.dat")
    assert np.shares_memory(tensor.data, np.frombuffer(file, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        tensor.data[0, 0] = 1


@pytest.mark.parametrize(
    ("array", "item", "bits", "dtype", "expected"),
    [
        (np.array([1.1], np.float64), "float", 64, DType.F32, np.float32([1.1])),
        (np.array([0.5], np.float16), "float", 16, DType.F32, np.float32([0.5])),
        (np.array([200], np.uint8), "uint", 8, DType.I64, np.int64([200])),
        (np.array([2**63 - 1], np.uint64), "uint", 64, DType.I64, np.int64([2**63 - 1])),
        (np.array([-3], np.int8), "qint", 4, DType.F32, np.float32([-3])),
        (np.array([2**30 + 1], np.int32), "qint", 32, DType.F32, np.float32([2**30])),
        (np.array([-3], np.int8), "qint", 8, DType.I8, np.int8([-3])),
        (np.array([2**24], np.int32), "int", 32, DType.F32, np.float32([2**24])),
    ],
)
def test_values(array, item, bits, dtype, expected):
    result = values(Tensor(array, item, bits), dtype)
    assert result.dtype == dtype.numpy
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("tensor", "dtype", "message"),
    [
        (Tensor(np.array([2**63], np.uint64), "uint", 64), DType.I64, "value 9223372036854775808 is not exact"),
        (Tensor(np.array([-1], np.int8), "int", 8), DType.U8, r"value -1 is not exact in a tensor of u8 \(0 to"),
        (Tensor(np.array([2**24 + 1], np.int32), "int", 32), DType.F32, "16777217 is not exact in a tensor of f32"),
        (tensor_of(np.float32([1])), DType.I64, "32-bit float items cannot be the values of a tensor of i64"),
        (tensor_of(np.array([True])), DType.F32, "1-bit bool items cannot be the values of a tensor of f32"),
        (tensor_of(np.uint8([1])), DType.BOOL, "8-bit uint items cannot be the values of a tensor of bool"),
    ],
)  # fmt: skip
def test_values_refuse_what_they_cannot_hold(tensor, dtype, message):
    with pytest.raises(InvalidModelError, match=message):
        values(tensor, dtype)


def test_the_standard_says_which_items_store_which_type():
    table = {i: "".join(str(int(stores(i, d))) for d in (DType.F32, DType.I64, DType.BOOL)) for i in ITEMS}
    assert table == {"float": "100", "uint": "010", "quint": "100", "qint": "100", "int": "010", "bool": "001"}


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        (Tensor(np.array([16], np.uint8), "uint", 4), ValueError, r"from 16 to 16 do not fit 4 bits \(0 to 15\)"),
        (Tensor(np.array([-9], np.int8), "qint", 4), ValueError, r"do not fit 4 bits \(-8 to 7\)"),
        (Tensor(np.array([1.0]), "float", 32), ValueError, "32-bit float items are held as float32, not float64"),
        (Tensor(np.array([1.0]), "int", 32), ValueError, "cannot be written from values of NumPy's float64"),
        (Tensor(np.zeros((1,) * 9, np.float32), "float", 32), ValueError, "up to 8 positive extents"),
        (Tensor(np.zeros((2, 0), np.float32), "float", 32), ValueError, "up to 8 positive extents"),
        (Tensor(np.zeros(1, np.uint8), "uint", 65), ValueError, "uint items of 65 bits; they may have 1 to 64"),
        (Tensor(np.zeros(1, np.uint8), "byte", 8), ValueError, "unknown item type 'byte'"),
        (Tensor(np.zeros(1, np.uint8), "uint", 8, b"1" * 77), ValueError, "77 parameter bytes; the header has room"),
        (Tensor(np.broadcast_to(np.uint8(0), (2**32 - 1, 8)), "uint", 64), UnsupportedError, "at most 4294967295"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_writing_refuses_what_a_file_cannot_hold(tensor, error, message):
    with pytest.raises(error, match=message):
        tensor_parts(tensor)


def test_tensor_of_refuses_other_elements():
    with pytest.raises(TypeError, match="complex64"):
        tensor_of(np.zeros(1, np.complex64))


def test_memory_counts_what_a_graph_will_compute_with():
    def memory(bits, code):
        return parse_header(
            header(length=(80 * bits + 7) // 8, shape=(80,), bits=bits, code=code), 128 + 10 * bits, "w"
        ).memory

    assert [memory(1, 5), memory(1, 1), memory(1, 2), memory(32, 0), memory(64, 3)] == [80, 640, 320, 320, 640]


KHRONOS = """
import sys, numpy as np, nnef
folder = sys.argv[1]
for line in open(folder + "/list.txt"):
    name = line.strip()
    with open(f"{folder}/{name}.dat", "rb") as f:
        array, quantized = nnef.read_tensor(f, return_quantization=True)
    np.save(f"{folder}/{name}.npy", array)
    with open(f"{folder}/{name}.khronos", "wb") as f:
        nnef.write_tensor(f, array, quantized=quantized)
"""


def test_the_reference_reader_and_writer_agree(tmp_path):
    rng = np.random.default_rng(1)
    cases = {f"{d}": tensor_of(rng.standard_normal((2, 3)).astype(d)) for d in ("f2", "f4", "f8")}
    for bits in (8, 16, 32, 64):
        for item, kind in (("int", "i"), ("qint", "i"), ("uint", "u"), ("quint", "u")):
            array = rng.integers(0, 2**63, (3, 5), np.uint64).astype(f"{kind}{bits // 8}")
            cases[f"{item}{bits}"] = Tensor(array, item, bits)
    cases["bool"] = tensor_of(rng.integers(0, 2, (3, 7)).astype(bool))
    for name, tensor in cases.items():
        (tmp_path / f"{name}.dat").write_bytes(write_tensor(tensor))
    (tmp_path / "list.txt").write_text("\n".join(cases))
    subprocess.run([sys.executable, "-c", KHRONOS, str(tmp_path)], check=True)
    for name, tensor in cases.items():
        theirs = np.load(tmp_path / f"{name}.npy")
        assert theirs.dtype == tensor.data.dtype
        np.testing.assert_array_equal(theirs, tensor.data)
        assert (tmp_path / f"{name}.khronos").read_bytes() == write_tensor(tensor)


MODELS = ["ad_autoencoder", "kws_dscnn", "mnist_convsmall", "resnet8_cifar10", "ultraface_rfb320",
          "vww_mobilenetv1_025", "yunet_320"]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_real_tensor_files_are_written_back_bit_for_bit(shared: Path, model):
    seen = 0
    with tarfile.open(shared / "models" / model / f"{model}.nnef.tgz") as tar:
        for member in tar:
            if member.name.endswith(".dat"):
                file = tar.extractfile(member).read()
                assert write_tensor(read_tensor(io.BytesIO(file), len(file), member.name)) == file
                seen += 1
    assert seen
