"""Models on disk: every form is opened alike, labels find their files, what is written is whole and reproducible."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnefc.errors import InvalidModelError, Location, UnsupportedError
from nnefc.formats.nnef.archive import open_model, write_model
from nnefc.formats.nnef.paths import label_path
from nnefc.formats.nnef.tensor import tensor_of, write_tensor
from nnefc.ir.graph import Tensor

GRAPH = "version 1.0;\ngraph g(x) -> (y) { x = external(shape = [1]); y = copy(x); }\n"
QUANT = '"x": linear_quantize(min = 0.0, max = 1.0, bits = 8);\n'
FORMS = ["model", "model.tar", "model.tgz", "model.tar.gz", "model.nnef.tgz", "model.zip"]
TENSORS = {
    "conv1/filter": tensor_of(np.arange(24, dtype=np.float32).reshape(2, 3, 4)),
    "conv1/bias": tensor_of(np.float64([1, 2])),
    "index": tensor_of(np.int64([[7]])),
    "mask": tensor_of(np.array([True, False, True])),
    "codes": Tensor(np.array([1, 15, 3], np.uint8), "quint", 4),
}


def files_of(tensors=TENSORS, graph=GRAPH, quant=QUANT) -> dict[str, bytes]:
    files = {"graph.nnef": graph.encode(), **{f"{k}.dat": write_tensor(v) for k, v in tensors.items()}}
    return files | ({"graph.quant": quant.encode()} if quant is not None else {})


def make_tar(files: dict[str, bytes], mode: str = "w", fmt: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=fmt) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def make_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read(tmp_path, form):
    write_model(tmp_path / form, GRAPH, QUANT, TENSORS)
    assert os.listdir(tmp_path) == [form]
    with open_model(tmp_path / form) as model:
        assert (model.graph_text, model.quant_text) == (GRAPH, QUANT)
        assert model.graph_file == str(tmp_path / form / "graph.nnef")
        assert model.quant_file == str(tmp_path / form / "graph.quant")
        assert {label: model.read_tensor(label) for label in TENSORS} == TENSORS
        assert model.read_tensor("other") is None
        kept = model.read_tensor("mask")
    assert kept == TENSORS["mask"]


@pytest.mark.parametrize("form", FORMS[1:])
def test_the_same_model_gives_the_same_bytes(tmp_path, form):
    write_model(tmp_path / form, GRAPH, None, TENSORS)
    first = (tmp_path / form).read_bytes()
    write_model(tmp_path / form, GRAPH, None, dict(reversed(TENSORS.items())))
    assert (tmp_path / form).read_bytes() == first
    with open_model(tmp_path / form) as model:
        assert model.quant_text is None


def test_archives_are_readable_elsewhere(tmp_path):
    write_model(tmp_path / "a.tgz", GRAPH, QUANT, TENSORS | {"x" * 150 + "/" + "y" * 150: TENSORS["mask"]})
    with tarfile.open(tmp_path / "a.tgz") as tar:
        names = tar.getnames()
        assert names[:2] == ["graph.nnef", "graph.quant"] and names[2:] == sorted(names[2:])
        assert tar.extractfile("conv1/bias.dat").read() == write_tensor(TENSORS["conv1/bias"])
        assert all(m.mtime == 0 and m.mode == 0o644 and m.uid == 0 for m in tar)
    write_model(tmp_path / "a.zip", GRAPH, QUANT, TENSORS)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.read("codes.dat") == write_tensor(TENSORS["codes"])


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_tars_of_other_tools(tmp_path, fmt, compress):
    long = "a" * 90 + "/" + "b" * 90
    files = {f"./{name}": data for name, data in files_of(TENSORS | {long: TENSORS["mask"]}).items()}
    if fmt != tarfile.USTAR_FORMAT:
        files[f"./{'c' * 300}/café.txt"] = b"vendor's own"
    path = tmp_path / "misnamed.bin"
    path.write_bytes(compress(make_tar(files, fmt=fmt)))
    with open_model(path) as model:
        assert model.graph_text == GRAPH and model.quant_text == QUANT
        assert {label: model.read_tensor(label) for label in TENSORS} == TENSORS
        assert model.read_tensor(long) == TENSORS["mask"]


def test_gnu_tar_of_a_folder(tmp_path):
    make_folder(tmp_path / "m", files_of() | {"vendor/blob.bin": b"?" * 5000})
    subprocess.run(["tar", "-C", tmp_path / "m", "-czf", tmp_path / "m.tgz", "."], check=True)
    with open_model(tmp_path / "m.tgz") as model:
        assert model.read_tensor("conv1/filter") == TENSORS["conv1/filter"]


def test_gzip_data_in_several_parts(tmp_path):
    whole = make_tar(files_of())
    (tmp_path / "m.tgz").write_bytes(gzip.compress(whole[:700]) + gzip.compress(whole[700:]) + b"\0" * 512)
    with open_model(tmp_path / "m.tgz") as model:
        assert model.read_tensor("index") == TENSORS["index"]


def test_large_sizes_of_gnu_tar_are_understood(tmp_path):
    data = bytearray(make_tar({"w.dat": b"x" * 512, "graph.nnef": GRAPH.encode()}, fmt=tarfile.GNU_FORMAT))
    data[124:136] = b"\x80" + (512).to_bytes(11, "big")
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    (tmp_path / "m.tar").write_bytes(data)
    with open_model(tmp_path / "m.tar") as model:
        assert model.graph_text == GRAPH


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zips_of_other_tools(tmp_path, method):
    files = {"./graph.nnef": GRAPH.encode(), "conv1/": b"", "conv1\\filter.dat": write_tensor(TENSORS["index"])}
    (tmp_path / "m.zip").write_bytes(make_zip(files, method))
    with open_model(tmp_path / "m.zip") as model:
        assert model.quant_text is None
        assert model.read_tensor("conv1/filter") == TENSORS["index"]


def test_a_bare_text_has_no_data(tmp_path):
    make_folder(tmp_path, {"net.txt": GRAPH.encode(), "mask.dat": write_tensor(TENSORS["mask"])})
    with open_model(tmp_path / "net.txt") as model:
        assert model.graph_text == GRAPH and model.graph_file == str(tmp_path / "net.txt")
        assert model.read_tensor("mask") is None and model.quant_text is None


def test_graph_nnef_stands_for_its_folder(tmp_path, monkeypatch):
    make_folder(tmp_path, files_of())
    with open_model(tmp_path / "graph.nnef") as model:
        assert model.read_tensor("conv1/bias") == TENSORS["conv1/bias"] and model.quant_text == QUANT
    monkeypatch.chdir(tmp_path)
    with open_model("graph.nnef") as model:
        assert model.graph_file == "graph.nnef"
        assert model.read_tensor("conv1/bias") == TENSORS["conv1/bias"]


def test_a_byte_order_mark_is_dropped(tmp_path):
    (tmp_path / "net.nnef").write_bytes(b"\xef\xbb\xbf" + GRAPH.encode())
    assert open_model(tmp_path / "net.nnef").graph_text == GRAPH


@pytest.mark.parametrize("form", ["folder", "m.tar", "m.tgz", "m.zip"])
@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("Conv1/Filter.dat", "conv1/filter"),
        ("conv1/filter.DAT", "CONV1/FILTER"),
        ("conv1/filter.dat", "/conv1/filter"),
        ("conv1/filter.dat", "conv1\\filter"),
        ("conv1/filter.dat", "./conv1//filter"),
        ("a.b-c_d/0.dat", "a.b-c_d/0"),
        ("filter.dat.float32", "filter"),
        ("filter.dat.q8.v2", "Filter"),
        ("filter.dat.dat", "filter.dat"),
        ("..filter.dat", "..filter"),
    ],
)
def test_labels_find_their_files(tmp_path, form, file, label):
    files = {"graph.nnef": GRAPH.encode(), file: write_tensor(TENSORS["index"])}
    if form == "folder":
        path = make_folder(tmp_path / form, files)
    else:
        path = tmp_path / form
        path.write_bytes({"m.tar": make_tar, "m.tgz": lambda f: make_tar(f, "w:gz"), "m.zip": make_zip}[form](files))
    with open_model(path) as model:
        assert model.read_tensor(label) == TENSORS["index"]
        assert model.read_tensor("conv1") is None


def test_a_backslash_on_disk_separates_too(tmp_path):
    make_folder(tmp_path, {"graph.nnef": GRAPH.encode(), "a\\b\\c.dat": write_tensor(TENSORS["mask"])})
    with open_model(tmp_path) as model:
        assert model.read_tensor("a\\b\\c") == model.read_tensor("a/B/c") == TENSORS["mask"]


def test_the_plain_file_is_preferred_to_versions_of_it(tmp_path):
    versions = {"w.dat.a": write_tensor(TENSORS["mask"]), "w.dat.b": write_tensor(TENSORS["mask"])}
    make_folder(tmp_path, {"graph.nnef": GRAPH.encode(), "w.dat": write_tensor(TENSORS["index"])} | versions)
    with open_model(tmp_path) as model:
        assert model.read_tensor("w") == TENSORS["index"]
    (tmp_path / "w.dat").unlink()
    place = Location("graph.nnef", 3, 4)
    with open_model(tmp_path) as model, pytest.raises(InvalidModelError) as caught:
        model.read_tensor("w", place)
    assert caught.value.message == "several files answer to the label 'w': w.dat.a, w.dat.b"
    assert caught.value.location == place


def test_the_data_of_another_label_is_no_version(tmp_path):
    make_folder(tmp_path, {"graph.nnef": GRAPH.encode(), "w.dat.dat": write_tensor(TENSORS["mask"])})
    with open_model(tmp_path) as model:
        assert model.read_tensor("w") is None and model.read_tensor("w.dat") == TENSORS["mask"]


def test_the_tensors_of_an_archive_are_bounded_together(tmp_path):
    bits = write_tensor(Tensor(np.zeros(1 << 25, np.uint8), "uint", 1))
    files = {"graph.nnef": GRAPH.encode()} | {f"{name}.dat": bits for name in "abc"}
    (tmp_path / "m.tgz").write_bytes(make_tar(files, "w:gz"))
    with open_model(tmp_path / "m.tgz") as model:
        for label in "aabba":
            assert model.read_tensor(label).data.size == 1 << 25
        with pytest.raises(
            InvalidModelError, match="c.dat: error: a tensor of shape .* takes 268435456 bytes, more than"
        ):
            model.read_tensor("c")
    with open_model(make_folder(tmp_path / "m", files)) as model:
        assert all(model.read_tensor(label).data.size == 1 << 25 for label in "abc")


BAD_LABELS = [
    ("", "the label is empty"),
    ("a b", "the label 'a b' contains ' '; it may have letters, digits and _ - . / \\"),
    ("weights:0", "the label 'weights:0' contains ':'; it may have letters, digits and _ - . / \\"),
    ("a\0b", r"the label 'a\x00b' contains '\x00'; it may have letters, digits and _ - . / \ "),
    ("é", "the label 'é' contains 'é'; it may have letters, digits and _ - . / \\"),
    ("../w", "the label '../w' leads out of the model's folder"),
    ("a/../../w", "the label 'a/../../w' leads out of the model's folder"),
    ("..\\w", r"the label '..\\w' leads out of the model's folder"),
    ("..", "the label '..' leads out of the model's folder"),
    ("//etc/passwd", "the label '//etc/passwd' leads out of the model's folder"),
    ("a/", "the label 'a/' names a folder, not a file"),
    ("/", "the label '/' names a folder, not a file"),
    (".", "the label '.' names a folder, not a file"),
    ("a" * 1025, f"the label '{'a' * 40}'... has 1025 characters, more than 1024"),
]


@pytest.mark.parametrize(("label", "message"), BAD_LABELS)
def test_bad_labels(tmp_path, label, message):
    place = Location("graph.nnef", 7, 3)
    (tmp_path / "net.nnef").write_text(GRAPH)
    with open_model(tmp_path / "net.nnef") as model, pytest.raises(InvalidModelError) as caught:
        model.read_tensor(label, place)
    assert caught.value.message == message.rstrip(" ") and caught.value.location == place
    with pytest.raises(InvalidModelError):
        write_model(tmp_path / "out", GRAPH, None, {label: TENSORS["mask"]})
    assert not (tmp_path / "out").exists()


def test_paths_of_labels():
    assert label_path("/Conv1\\.//Filter") == "Conv1/Filter"


@given(st.text(st.sampled_from("ab.-_/\\"), min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_no_label_leads_out(label):
    try:
        path = label_path(label)
    except InvalidModelError:
        return
    inside = os.path.normpath(os.path.join("/model", path + ".dat"))
    assert inside == "/model/" + path + ".dat"


def test_labels_of_one_file_are_written_once(tmp_path):
    write_model(tmp_path / "m", GRAPH, None, {"W": TENSORS["mask"], "/w": TENSORS["mask"]})
    assert sorted(os.listdir(tmp_path / "m")) == ["graph.nnef", "w.dat"]
    with pytest.raises(
        InvalidModelError, match="the label 'w' and another share the file 'W.dat', but their data differ"
    ):
        write_model(tmp_path / "n", GRAPH, None, {"W": TENSORS["mask"], "w": TENSORS["index"]})
    with pytest.raises(InvalidModelError, match="'a.dat' would be both a file and a folder, of 'a.dat/b.dat'"):
        write_model(tmp_path / "n", GRAPH, None, {"a": TENSORS["mask"], "a.dat/b": TENSORS["index"]})
    with pytest.raises(InvalidModelError, match="'graph.nnef' would be both a file and a folder"):
        write_model(tmp_path / "n", GRAPH, None, {"graph.nnef/b": TENSORS["index"]})


def test_a_model_replaces_a_model(tmp_path):
    write_model(tmp_path / "m", GRAPH, QUANT, TENSORS)
    (tmp_path / "link").symlink_to(tmp_path / "m")
    write_model(tmp_path / "link", GRAPH, None, {"w": TENSORS["mask"]})
    assert sorted(os.listdir(tmp_path / "m")) == ["graph.nnef", "w.dat"] and (tmp_path / "link").is_symlink()
    (tmp_path / "empty").mkdir()
    write_model(tmp_path / "empty", GRAPH, None, {})
    assert os.listdir(tmp_path / "empty") == ["graph.nnef"]
    assert sorted(os.listdir(tmp_path)) == ["empty", "link", "m"]


@pytest.mark.parametrize(
    ("present", "example"),
    [
        ({"notes.txt": b"mine"}, "notes.txt"),
        ({"w.dat": b"mine"}, "w.dat"),
        ({"graph.nnef": b"", "sub/notes.txt": b"mine"}, "sub/notes.txt"),
    ],
)
def test_other_folders_are_not_replaced(tmp_path, present, example):
    make_folder(tmp_path / "m", present)
    with pytest.raises(UnsupportedError, match=f"the folder exists and holds '{example}', which is no part of a model"):
        write_model(tmp_path / "m", GRAPH, None, {})
    assert (tmp_path / "m" / example).read_bytes() == b"mine"


@pytest.mark.parametrize("form", FORMS)
def test_a_failed_write_leaves_what_was_there(tmp_path, form):
    write_model(tmp_path / form, GRAPH, None, {"w": TENSORS["mask"]})
    bad = Tensor(np.uint8([16]), "uint", 4)
    with pytest.raises(ValueError, match="do not fit 4 bits"):
        write_model(tmp_path / form, "", None, {"a": TENSORS["mask"], "w": bad})
    assert os.listdir(tmp_path) == [form]
    with open_model(tmp_path / form) as model:
        assert model.graph_text == GRAPH and model.read_tensor("w") == TENSORS["mask"]


def test_targets_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.tgz").mkdir()
    for path, message in [
        ("file", "it exists and is no folder"),
        ("missing/m.tgz", "cannot be written: No such file or directory"),
        ("missing/m", "cannot be written: No such file or directory"),
        ("folder.tgz", "cannot be written: Is a directory"),
        ("file/m.zip", "cannot be written: Not a directory"),
    ]:
        with pytest.raises(UnsupportedError) as caught:
            write_model(tmp_path / path, GRAPH, None, {})
        assert str(caught.value) == f"{tmp_path / path}: error: {message}"


KHRONOS = """
import sys, numpy as np, nnef
graph = nnef.load_graph(sys.argv[1])
np.savez(sys.argv[2], **{op.attribs["label"]: graph.tensors[op.outputs["output"]].data
                         for op in graph.operations if op.name == "variable"})
"""


@pytest.mark.parametrize("model", ["resnet8_cifar10", "kws_dscnn"])
def test_a_real_model_is_carried_over_bit_for_bit(shared, tmp_path, model):
    source = shared / "models" / model / f"{model}.nnef.tgz"
    with tarfile.open(source) as tar:
        labels = [m.name.removesuffix(".dat") for m in tar if m.name.endswith(".dat")]
        theirs = {label: tar.extractfile(f"{label}.dat").read() for label in labels}
    with open_model(source) as opened:
        write_model(tmp_path / "m", opened.graph_text, opened.quant_text, {x: opened.read_tensor(x) for x in labels})
    assert {label: (tmp_path / "m" / f"{label}.dat").read_bytes() for label in labels} == theirs
    subprocess.run([sys.executable, "-c", KHRONOS, tmp_path / "m", tmp_path / "out.npz"], check=True)
    with np.load(tmp_path / "out.npz") as loaded, open_model(tmp_path / "m") as opened:
        assert sorted(loaded) == sorted(labels)
        for label in labels:
            np.testing.assert_array_equal(loaded[label], opened.read_tensor(label).data)
