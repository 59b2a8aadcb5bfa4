"""The frames of a stream, byte by byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from cupola.gateway.openai.answers import CompletionUsage
from cupola.gateway.openai.chunks import ChunkEncoder

SAME = (
    '"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m:1",'
    '"system_fingerprint":"fp"'
)


@pytest.mark.parametrize(("include_usage", "usage"), [(False, ""), (True, ',"usage":null')])
def test_exact_frames(include_usage: bool, usage: str) -> None:
    chunks = ChunkEncoder("chatcmpl-1", 7, "m:1", "fp", include_usage)

    def frame(delta: str, reason: str = "null") -> bytes:
        choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}'
        return f'data: {{{SAME},"choices":[{choice}]{usage}}}\n\n'.encode()

    assert chunks.first() == frame('{"role":"assistant","content":""}')
    assert chunks.content('Grüße "\n') == frame('{"content":"Grüße \\"\\n"}')
    assert chunks.last("stop") == frame("{}", '"stop"')


def test_exact_usage_frame() -> None:
    frame = ChunkEncoder("chatcmpl-1", 7, "m:1", "fp", True).usage(CompletionUsage(2, 3, 5))
    details = (
        '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}'
    )
    usage = f'{{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5,{details}}}'
    assert frame == f'data: {{{SAME},"choices":[],"usage":{usage}}}\n\n'.encode()


@given(text=st.text(), model=st.text())
def test_any_text_survives(text: str, model: str) -> None:
    frame = ChunkEncoder("id", 7, model, "fp").content(text)
    assert frame.startswith(b"data: ") and frame.endswith(b"\n\n")
    data = frame[6:-2]
    assert b"\n" not in data  # a line break would end the event early
    chunk = ChatCompletionChunk.model_validate(json.loads(data))
    assert (chunk.model, chunk.choices[0].delta.content) == (model, text)
