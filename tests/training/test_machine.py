"""Where a run is computed, and where that differs from where it began."""

from pathlib import Path

import torch

from multimix.training.machine import LIBRARIES, differences, machine, processor

NOW = {
    "machine": {"device": "cpu", "processor": "Xeon", "capability": "AVX2", "threads": 2},
    "versions": dict.fromkeys(LIBRARIES, "1.0") | {"python": "3.11", "platform": "Linux"},
}


def changed(part: str, **values: object) -> dict[str, object]:
    return NOW | {part: NOW[part] | values}


def test_this_machine() -> None:
    found = machine(torch.device("cpu"))
    assert (found["device"], found["threads"]) == ("cpu", torch.get_num_threads())
    assert found["capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["processor"] == processor() != ""


def test_the_processor_is_named_as_the_system_does() -> None:
    file = Path("/proc/cpuinfo")
    if file.is_file() and "model name" in file.read_text():
        assert f"model name\t: {processor()}\n" in file.read_text()


def test_what_differs_is_told() -> None:
    assert differences(NOW, NOW) == []
    assert differences(changed("machine", threads=4, capability="AVX512"), NOW) == [
        "capability AVX512, now AVX2",
        "threads 4, now 2",
    ]
    assert differences(changed("versions", torch="0.9"), NOW) == ["torch 0.9, now 1.0"]


def test_the_system_and_python_round_nothing() -> None:
    assert differences(changed("versions", python="3.12", platform="macOS"), NOW) == []


def test_what_an_older_run_does_not_say_is_not_known_to_differ() -> None:
    assert differences({}, NOW) == []
    assert differences({"machine": {"threads": 2}, "versions": None}, NOW) == []
    assert differences({"machine": "a computer", "versions": {"torch": "1.0"}}, NOW) == []
