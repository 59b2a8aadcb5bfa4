"""Fields of other servers that clients send here. Pure data.

Those that this service honours are fields of its own bodies. Of the others, some change nothing
that a client would miss, and are taken; some change the answer, and are refused by name unless
their value asks for nothing. A name that is in no table and near to a known one is a typo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# Where and how fast something is computed, what is logged, how an answer is reported.
HARMLESS = frozenset(
    # llama-server
    "cache_prompt id_slot slot_id n_keep n_discard min_keep "
    "reasoning_format return_tokens response_fields n_cache_reuse speculative.n_max "
    "speculative.n_min speculative.p_min n_ctx num_ctx n_threads n_batch verbose "
    # vLLM, SGLang, TGI
    "request_id spaces_between_special_tokens guided_decoding_backend details "
    "kv_transfer_params mm_processor_kwargs separate_reasoning stream_reasoning "
    "decoder_input_details truncate_sequence_length vllm_xargs "
    # OpenRouter, Groq, LiteLLM, LM Studio, text-generation-webui
    "models mode provider route usage session_id trace disable_tool_validation "
    "citation_options draft_model custom_llm_provider api_base api_key drop_params num_retries "
    "fallbacks".split()
)  # fmt: skip


class Foreign(NamedTuple):
    """A field that is refused where ``asks`` is true of its value."""

    asks: Callable[[Any], bool]
    hint: str


def _unless(*neutral: Any) -> Callable[[Any], bool]:
    return lambda value: value not in neutral


def _on(hint: str) -> Foreign:
    return Foreign(bool, hint)


_LEAVE = "leave it out"
_GRAMMAR = "set the form of the answer as this endpoint has it"
REFUSED: Mapping[str, Foreign] = {
    # Ways to choose a token.
    "mirostat": _on(_LEAVE),
    "dry_multiplier": _on("use 'frequency_penalty' or 'repetition_penalty'"),
    "xtc_probability": _on("use 'min_p' and 'temperature'"),
    "top_a": _on("use 'min_p'"),
    "top_n_sigma": Foreign(_unless(0, -1), "use 'min_p'"),
    "tfs_z": Foreign(_unless(1), "use 'typical_p'"),
    "tfs": Foreign(_unless(1), "use 'typical_p'"),
    "dynatemp_range": _on("use 'temperature'"),
    "dynamic_temperature": _on("use 'temperature'"),
    "smoothing_factor": _on("use 'temperature'"),
    "epsilon_cutoff": _on("use 'min_p'"),
    "eta_cutoff": _on("use 'min_p'"),
    "penalty_alpha": _on(_LEAVE),
    "adaptive_target": Foreign(_unless(-1), _LEAVE),
    "no_repeat_ngram_size": _on("use 'repetition_penalty'"),
    "encoder_repetition_penalty": Foreign(_unless(1), "use 'repetition_penalty'"),
    "samplers": _on("the order of the samplers is fixed here"),
    "sampler_order": _on("the order of the samplers is fixed here"),
    "sampler_priority": _on("the order of the samplers is fixed here"),
    "temperature_last": _on("the order of the samplers is fixed here"),
    "do_sample": Foreign(lambda wanted: wanted is False, "use 'temperature': 0"),
    "use_beam_search": _on("use 'best_of' of /v1/completions"),
    "num_beams": Foreign(_unless(1), "use 'best_of' of /v1/completions"),
    "length_penalty": Foreign(_unless(1), _LEAVE),
    "early_stopping": _on(_LEAVE),
    "guidance_scale": Foreign(_unless(1), _LEAVE),
    "negative_prompt": _on(_LEAVE),
    "bad_words": _on("use 'logit_bias'"),
    "allowed_token_ids": _on("use 'logit_bias'"),
    "custom_token_bans": _on("use 'logit_bias'"),
    "logits_processors": _on("use 'logit_bias'"),
    "watermark": _on(_LEAVE),
    # Models and prompts.
    "lora": _on("models are used as they are on the disk"),
    "adapter_id": _on("models are used as they are on the disk"),
    "chat_template": _on("the model's own template is used"),
    "prompt_template": _on("the model's own template is used"),
    "documents": _on("send them in a message"),
    "safe_prompt": _on("send a system message"),
    "transforms": _on("shorten the messages in your app"),
    "truncate_prompt_tokens": _on("shorten the prompt in your app"),
    "truncation_length": _on("shorten the prompt in your app"),
    "plugins": _on("use 'tools'"),
    "data_sources": _on("use 'tools'"),
    "search_settings": _on("use 'tools'"),
    "input_embeds": _on("send text or tokens"),
    "enable_thinking": Foreign(
        _unless(None), "use 'chat_template_kwargs': {'enable_thinking': ...}"
    ),
    "thinking_budget": Foreign(_unless(None), "use 'reasoning_effort'"),
    "reasoning_budget": Foreign(_unless(-1), "use 'reasoning_effort'"),
    "thinking_budget_tokens": Foreign(_unless(-1), "use 'reasoning_effort'"),
    # Forms of the answer.
    "grammar": _on(_GRAMMAR),
    "json_schema": _on(_GRAMMAR),
    "guided_json": _on(_GRAMMAR),
    "guided_regex": _on(_GRAMMAR),
    "guided_choice": _on(_GRAMMAR),
    "guided_grammar": _on(_GRAMMAR),
    "structured_outputs": _on(_GRAMMAR),
    "lark_grammar": _on(_GRAMMAR),
    "grammar_lazy": _on("a grammar holds from the first token here"),
    "grammar_triggers": _on("a grammar holds from the first token here"),
    "guided_whitespace_pattern": _on(_LEAVE),
    "ebnf": _on("use 'guided_grammar'"),
    "regex": _on("use 'guided_regex'"),
    "parse_tool_calls": Foreign(
        lambda wanted: wanted is False, "calls are always told apart from text"
    ),
    "reasoning_in_content": _on("reasoning comes in 'reasoning_content'"),
    "include_stop_str_in_output": _on("texts that stop an answer are not part of it"),
    "no_stop_trim": _on("texts that stop an answer are not part of it"),
    "stop_regex": _on("use 'stop'"),
    "n_indent": _on(_LEAVE),
    "t_max_predict_ms": _on("end the request in your app"),
    "min_length": _on("use 'min_tokens'"),
    "max_length": _on("use 'max_tokens'"),
    "post_sampling_probs": _on("use 'logprobs'"),
    "prompt_logprobs": Foreign(_unless(None), "use 'echo' and 'logprobs' of /v1/completions"),
    "return_full_text": _on("use 'echo' of /v1/completions"),
    "return_token_ids": _on("POST /tokenize has the ids"),
    "return_tokens_as_token_ids": _on("POST /tokenize has the ids"),
    "extra_body": _on("put its fields into the body itself"),
    "parameters": _on("put its fields into the body itself"),
}
