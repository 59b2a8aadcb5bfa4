import pytest

from cupola.cache.model_address import (
    Address,
    AddressError,
    AzureAddress,
    HubAddress,
    PipAddress,
    StorageAddress,
    UrlAddress,
    check_name,
    is_address,
    is_hub_address,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf:org/name", HubAddress("org/name")),
        ("hf://org/name", HubAddress("org/name")),
        ("hf.co/org/name:Q4_K_M", HubAddress("org/name", "main", "Q4_K_M")),
        ("hf:org/name@v1.0", HubAddress("org/name", "v1.0")),
        ("hf:org/name@refs/pr/1:a b.gguf", HubAddress("org/name", "refs/pr/1", "a b.gguf")),
        ("hf:O.r-g/Qwen2.5_x:sub/folder", HubAddress("O.r-g/Qwen2.5_x", "main", "sub/folder")),
        ("https://huggingface.co/org/name", HubAddress("org/name")),
        ("https://huggingface.co/org/name/", HubAddress("org/name")),
        (
            "https://huggingface.co/org/name/resolve/main/a/b%20c.gguf?download=true",
            HubAddress("org/name", "main", "a/b c.gguf"),
        ),
        ("https://hf.co/org/name/blob/v1/x.gguf", HubAddress("org/name", "v1", "x.gguf")),
        ("https://huggingface.co/org/name/tree/main/onnx", HubAddress("org/name", "main", "onnx")),
        ("https://example.org/x.gguf?key=1", UrlAddress("https://example.org/x.gguf?key=1")),
        ("http://127.0.0.1:8000/x.GGUF", UrlAddress("http://127.0.0.1:8000/x.GGUF")),
        ("pip:llm-x==0.1.2", PipAddress("llm-x==0.1.2")),
        ("pip:llm.x==1.0.post1#a/b c.gguf", PipAddress("llm.x==1.0.post1", "a/b c.gguf")),
        ("s3://bucket/a/b.gguf", StorageAddress("s3", "bucket/a/b.gguf")),
        ("gs:my-bucket/folder/", StorageAddress("gs", "my-bucket/folder/")),
        ("abfs://c@account.dfs/x", StorageAddress("abfs", "c@account.dfs/x")),
        (
            "azureml://registries/azureml/models/Phi-4/versions/3",
            AzureAddress("azureml://registries/azureml/models/Phi-4/versions/3"),
        ),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert is_address(text)
    assert parse_address(text) == address
    assert parse_address(str(address)) == address
    assert is_hub_address(text) is isinstance(address, HubAddress)


@pytest.mark.parametrize(
    "text",
    [
        "hf:", "hf:name", "hf:a/b/c", "hf:/b", "hf:a/../b", "hf:../b", "hf:a/b@", "hf:a/b:",
        "hf:a/b@../x", "hf:a/b@x/../y", "hf:a b/c", "hf:a/b?c", "hf:.a/b", "hf:a/b@-x", "hf:a/b\n",
        "ftp://example.org/x.gguf", "http://example.org/x.gguf", "https:///x.gguf",
        "pip:name", "pip:name>=1", "pip:-r==1", "pip:a==1 --index-url=x", "pip:a==1#", "s3:", "s3://",
        "s3://bucket", "gs:/../x", "abfs:a/\x1b", "azureml://registries/x", "azureml://a/b/c",
        "azureml://registries/azureml/models/../versions/1?x=y",
        "https://user:pass@example.org/x.gguf", "https://example.org/x.bin", "file:///x.gguf",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    assert is_address(text)
    assert not is_hub_address(text)
    with pytest.raises(AddressError):
        parse_address(text)


@pytest.mark.parametrize("text", ["smollm2-135m", "a:1", "C:\\x.gguf", "./x.gguf", "org/name", ""])
def test_names_are_no_addresses(text: str) -> None:
    assert not is_address(text)


def test_a_url_names_its_file() -> None:
    assert UrlAddress("https://x.org/a/My%20Model.gguf?a=b/c").file_name == "My Model.gguf"


@pytest.mark.parametrize("name", ["mine", "Mine!", "My Model 2", "a.b_c-d", "x" * 200])
def test_names_of_models(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["../evil", "a/b", "a\\b", "..", ".hidden", "mine:2", "", "--", "modèle", "模型"]
)
def test_what_is_no_name_of_a_model(name: str) -> None:
    with pytest.raises(AddressError, match=r"cannot be a model's name") as error:
        check_name(name)
    assert "\n" not in str(error.value)
