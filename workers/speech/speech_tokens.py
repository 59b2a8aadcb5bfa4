"""The tokens of a Whisper model that are no text, and which it may not choose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from cupola.workers.model.model_folder import ModelFolderError

TIME_STEPS = 1501  # tokens for times: 0 to 30 seconds
SECONDS_A_STEP = 0.02
_MULTILINGUAL = 51_865  # tokens of the smallest multilingual vocabulary
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")


class _Generation(msgspec.Struct):
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    is_multilingual: bool | None = None
    alignment_heads: list[tuple[int, int]] | None = None  # (layer, head)


@dataclass(frozen=True, slots=True)
class SpeechTokens:
    end: int
    start: int
    previous: int  # before text that the audio continues
    no_speech: int
    no_times: int
    transcribe: int
    translate: int
    languages: dict[str, int]  # empty: the model knows English only
    suppressed: NDArray[np.int64]
    suppressed_first: NDArray[np.int64]
    # The heads of the decoder whose attention follows the audio: (layer, head). Empty: not known.
    alignment_heads: tuple[tuple[int, int], ...] = ()

    @property
    def first_time(self) -> int:
        """The token of the time 0."""
        return self.no_times + 1

    @property
    def vocabulary(self) -> int:
        return self.first_time + TIME_STEPS

    @classmethod
    def read(cls, folder: Path, tokenizer: Tokenizer, vocabulary: int) -> SpeechTokens:
        """Raises ModelFolderError."""
        generation = _generation(folder)

        def token(*names: str) -> int:
            for name in names:
                if (found := tokenizer.token_to_id(name)) is not None:
                    return int(found)
            raise ModelFolderError(f"{folder.name}/tokenizer.json has no token {names[0]}")

        multilingual = generation.is_multilingual
        if multilingual is None:
            multilingual = vocabulary >= _MULTILINGUAL
        marks = tokenizer.get_added_tokens_decoder()
        languages = {
            found[1]: number
            for number, mark in sorted(marks.items())
            if (found := _LANGUAGE.fullmatch(mark.content))
        }
        tokens = cls(
            end=token("<|endoftext|>"),
            start=token("<|startoftranscript|>"),
            previous=token("<|startofprev|>"),
            no_speech=token("<|nospeech|>", "<|nocaptions|>"),
            no_times=token("<|notimestamps|>"),
            transcribe=token("<|transcribe|>"),
            translate=token("<|translate|>"),
            languages=languages if multilingual else {},
            suppressed=_valid(generation.suppress_tokens, vocabulary),
            suppressed_first=_valid(generation.begin_suppress_tokens, vocabulary),
            alignment_heads=tuple(generation.alignment_heads or ()),
        )
        if tokens.vocabulary > vocabulary:
            text = f"{folder.name}: the tokenizer has more tokens than the model's {vocabulary}"
            raise ModelFolderError(text)
        return tokens

    def beginning(self, language: str, *, translate: bool) -> list[int]:
        """The tokens after which the transcript is generated."""
        if not self.languages:
            return [self.start]
        task = self.translate if translate else self.transcribe
        return [self.start, self.languages[language], task]


def _generation(folder: Path) -> _Generation:
    try:
        content = (folder / "generation_config.json").read_bytes()
        return msgspec.json.decode(content, type=_Generation)
    except FileNotFoundError:
        return _Generation()
    except (OSError, msgspec.MsgspecError) as error:
        text = f"{folder.name}/generation_config.json cannot be read: {error}"
        raise ModelFolderError(text) from error


def _valid(tokens: list[int] | None, vocabulary: int) -> NDArray[np.int64]:
    return np.array([t for t in tokens or () if 0 <= t < vocabulary], np.int64)
