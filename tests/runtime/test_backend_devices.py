"""The line that names the device, its warning and --require-gpu, with stand-ins for devices."""

import platform
import types

import keras
import pytest

from kseg import nvidia
from kseg.errors import InputError
from kseg.runtime import backend_devices, missing_gpu
from kseg.runtime.backend_devices import Device

H100 = Device("gpu", "NVIDIA H100 80GB HBM3", (9, 0))
WORKS = "echo 'NVIDIA H100 80GB HBM3, 81559, 570.86.15, 9.0'"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def machine(monkeypatch, fake_nvidia_smi):
    """A function that sets what the machine has; the backend sees no GPU."""

    def build(smi=WORKS, *, node=True, packages=(), backend="tensorflow", cpu="x86_64", lib=True):
        if smi is None:
            monkeypatch.setenv("PATH", "/nowhere")
        else:
            fake_nvidia_smi(smi)
        monkeypatch.setattr(nvidia, "has_device_node", lambda: node)
        monkeypatch.setattr(
            missing_gpu.metadata,
            "distributions",
            lambda: [types.SimpleNamespace(name=name) for name in packages],
        )
        monkeypatch.setattr(missing_gpu, "_has_libcuda", lambda: lib)
        monkeypatch.setattr(platform, "machine", lambda: cpu)
        monkeypatch.setattr(backend_devices, "find", lambda all_hosts=False: [])
        monkeypatch.setattr(keras.backend, "backend", lambda: backend)

    return build


def test_gpus_of_tensorflow_are_named_with_their_capability(monkeypatch, capsys):
    import tensorflow as tf

    details = {"device_name": "NVIDIA H100 80GB HBM3", "compute_capability": (9, 0)}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU:0", "GPU:1"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert backend_devices.announce("training") == [H100]
    assert capsys.readouterr() == ("device: 1 of 2 x NVIDIA H100 80GB HBM3 (TensorFlow)\n", "")
    assert backend_devices.announce("training", devices=2, require_gpu=True) == [H100, H100]
    assert capsys.readouterr().out == "device: 2 x NVIDIA H100 80GB HBM3 (TensorFlow)\n"


def test_gpus_of_jax_are_named_with_their_capability(monkeypatch, capsys):
    jax = pytest.importorskip("jax")

    def device(platform, kind, **more):
        return types.SimpleNamespace(platform=platform, device_kind=kind, **more)

    gpu = device("gpu", H100.name, compute_capability="9.0")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(jax, "local_devices", lambda: [gpu])
    monkeypatch.setattr(
        jax, "devices", lambda: [gpu, device("gpu", "T4", compute_capability="7.5")]
    )
    assert backend_devices.announce("training") == [H100]
    assert capsys.readouterr().out == "device: 1 x NVIDIA H100 80GB HBM3 (JAX)\n"
    of_all = backend_devices.announce("training", hosts=2)
    assert of_all == [H100, Device("gpu", "T4", (7, 5))]
    monkeypatch.setattr(
        jax, "local_devices", lambda: [device("gpu", "AMD", compute_capability="gfx90a")]
    )
    assert backend_devices.find() == [Device("gpu", "AMD", None)]
    monkeypatch.setattr(jax, "local_devices", lambda: [device("cpu", "cpu")])
    assert backend_devices.find() == []
    monkeypatch.setattr(jax, "local_devices", lambda: [device("tpu", "TPU v4")])
    with pytest.raises(InputError, match="TPU v4"):
        backend_devices.announce("training", require_gpu=True)


def test_a_machine_without_a_gpu_is_no_reason_to_warn(machine, capsys):
    machine(smi=None, node=False)
    assert backend_devices.announce("training") == []
    out, err = capsys.readouterr()
    assert out.startswith("device: CPU, ") and out.endswith(" cores (TensorFlow)\n") and err == ""
    with pytest.raises(InputError, match="no NVIDIA GPU"):
        backend_devices.announce("training", require_gpu=True)


@pytest.mark.parametrize(
    ("has", "advice"),
    [
        ({}, "./scripts/install gpu"),
        ({"smi": None}, "./scripts/install gpu"),
        ({"node": False}, "./scripts/install gpu"),
        ({"packages": ["nvidia-cudnn-cu12"]}, "kseg.doctor --training"),
        ({"backend": "jax"}, "./scripts/install jax-gpu"),
        ({"backend": "jax", "packages": ["nvidia-cudnn-cu12"]}, "./scripts/install jax-gpu"),
        ({"backend": "jax", "packages": ["jax-cuda12-plugin"]}, "kseg.doctor --training"),
        ({"cpu": "aarch64"}, "KERAS_BACKEND=jax"),
        ({"lib": False}, "libcuda.so.1"),
        ({"smi": "echo 'NVML: Driver/library version mismatch'; exit 18"}, "mismatch"),
    ],
)
def test_a_gpu_that_is_not_used_is_one_warning_with_what_to_do(machine, capsys, has, advice):
    machine(**has)
    backend_devices.announce("training")
    out, err = capsys.readouterr()
    assert out.startswith("device: CPU, ") and out.count("\n") == 1
    assert err.startswith("warning: ") and advice in err and err.count("\n") == 1
    with pytest.raises(InputError, match=r"--require-gpu") as refused:
        backend_devices.announce("training", require_gpu=True)
    assert advice in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("backend", "name", "value"),
    [
        ("tensorflow", "CUDA_VISIBLE_DEVICES", ""),
        ("jax", "CUDA_VISIBLE_DEVICES", "-1"),
        ("jax", "JAX_PLATFORMS", "cpu"),
    ],
)
def test_a_gpu_that_the_user_hides_is_no_reason_to_warn(
    machine, monkeypatch, capsys, backend, name, value
):
    machine(backend=backend)
    monkeypatch.setenv(name, value)
    backend_devices.announce("training")
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match=f"unset {name}"):
        backend_devices.announce("training", require_gpu=True)
