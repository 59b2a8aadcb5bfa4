"""Which files of a repository are taken. The listings are those of real repositories, shortened."""

import pytest

from cupola.cache.errors import NotFoundError
from cupola.cache.remote.hub_files import HubFile, choose, quant_of


def listing(*paths: str) -> list[HubFile]:
    return [HubFile(path, size=len(path)) for path in paths]


QWEN = listing(
    ".gitattributes", "LICENSE", "README.md",
    "qwen2.5-7b-instruct-q2_k.gguf",
    "qwen2.5-7b-instruct-q3_k_m-00001-of-00002.gguf",  # one is missing
    "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf",
    "qwen2.5-7b-instruct-q4_k_m-00002-of-00002.gguf",
    "qwen2.5-7b-instruct-q8_0-00001-of-00003.gguf",
    "qwen2.5-7b-instruct-q8_0-00003-of-00003.gguf",  # one is missing
)  # fmt: skip
UNSLOTH = listing(
    "README.md", "config.json", "imatrix_unsloth.gguf", "mmproj-F16.gguf",
    *(f"Qwen3-4B-{q}.gguf" for q in ("BF16", "IQ4_NL", "Q4_0", "Q4_K_M", "Q8_0", "UD-Q4_K_XL")),
)  # fmt: skip
CODER = listing(
    "qwen2.5-coder-7b-instruct-q4_k_m-00001-of-00002.gguf",
    "qwen2.5-coder-7b-instruct-q4_k_m-00002-of-00002.gguf",
    "qwen2.5-coder-7b-instruct-q4_k_m.gguf",
)
PHI = listing(
    "config.json", "LICENSE",
    *(
        f"{folder}/{name}"
        for folder in (
            "cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4",
            "gpu/gpu-int4-rtn-block-32",
        )
        for name in ("genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "x.py")
    ),
)  # fmt: skip
MINILM = listing(
    "1_Pooling/config.json", "config.json", "model.safetensors", "modules.json", "onnx/model.onnx",
    "pytorch_model.bin", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.txt",
)  # fmt: skip
WHISPER = listing(
    "README.md", "added_tokens.json", "config.json", "flax_model.msgpack", "generation_config.json",
    "merges.txt", "model.safetensors", "normalizer.json", "preprocessor_config.json",
    "pytorch_model.bin", "tokenizer.json", "tokenizer_config.json", "vocab.json",
)  # fmt: skip
FASTER_WHISPER = listing(
    "README.md", "config.json", "model.bin", "tokenizer.json", "vocabulary.txt"
)


@pytest.mark.parametrize(
    ("files", "part", "paths"),
    [
        (
            WHISPER,
            "",
            ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json"],
        ),
        (FASTER_WHISPER, "model.bin", ["model.bin", "config.json", "tokenizer.json"]),
        (UNSLOTH, "", ["Qwen3-4B-Q8_0.gguf"]),
        (UNSLOTH, "q4_k_m", ["Qwen3-4B-Q4_K_M.gguf"]),
        (UNSLOTH, "Qwen3-4B-IQ4_NL.gguf", ["Qwen3-4B-IQ4_NL.gguf"]),
        (UNSLOTH, "*Q4_K_XL*", ["Qwen3-4B-UD-Q4_K_XL.gguf"]),
        (
            QWEN,
            "",
            [f"qwen2.5-7b-instruct-q4_k_m-0000{n}-of-00002.gguf" for n in (1, 2)],
        ),
        (CODER, "Q4_K_M", ["qwen2.5-coder-7b-instruct-q4_k_m.gguf"]),
        (QWEN, "Q2_K", ["qwen2.5-7b-instruct-q2_k.gguf"]),
        (
            QWEN,
            "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf",
            [f"qwen2.5-7b-instruct-q4_k_m-0000{n}-of-00002.gguf" for n in (1, 2)],
        ),
        (MINILM, "", ["model.safetensors", "config.json", "modules.json",
                      "sentence_bert_config.json", "1_Pooling/config.json", "tokenizer.json",
                      "tokenizer_config.json"]),
    ],
)  # fmt: skip
def test_choices(files: list[HubFile], part: str, paths: list[str]) -> None:
    assert [file.path for file in choose(files, part).files] == paths


@pytest.mark.parametrize(
    ("part", "folder"),
    [
        ("", "cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4"),
        ("gpu-int4-rtn-block-32", "gpu/gpu-int4-rtn-block-32"),
        ("gpu/gpu-int4-rtn-block-32", "gpu/gpu-int4-rtn-block-32"),
    ],
)
def test_folders_of_onnx(part: str, folder: str) -> None:
    choice = choose(PHI, part)
    assert (choice.kind, choice.folder) == ("genai", folder)
    names = ["genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json"]
    assert [file.path for file in choice.files] == [f"{folder}/{name}" for name in names]


def test_the_choice_says_why() -> None:
    assert choose(UNSLOTH).reason.startswith("the best for this machine; others: ")
    assert choose(UNSLOTH, "*").reason == "as named: *"


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(NotFoundError, match=r"It has: .*Q4_0"):
        choose(UNSLOTH, "Q9")


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("a/Model-1.5B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("model.q8_0.gguf", "Q8_0"),
        ("m-IQ3_XXS.gguf", "IQ3_XXS"),
        ("m-BF16-00001-of-00003.gguf", "BF16"),
        ("m-mxfp4.gguf", "MXFP4"),
        ("Q-model.gguf", ""),
    ],
)
def test_quants(path: str, quant: str) -> None:
    assert quant_of(path) == quant
