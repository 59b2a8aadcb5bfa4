"""The sizes of a Whisper model."""

from __future__ import annotations

import msgspec

from cupola.cache.errors import UnsupportedError

AUDIO_POSITIONS = 1500  # of a window of 30 seconds, after the second convolution
FRAMES = 2 * AUDIO_POSITIONS  # of the spectrogram of a window


class WhisperShape(msgspec.Struct, frozen=True, kw_only=True):
    """The names are those of a Whisper model's config.json."""

    model_type: str = "whisper"
    vocab_size: int
    num_mel_bins: int
    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    decoder_layers: int
    decoder_attention_heads: int
    decoder_ffn_dim: int
    max_target_positions: int
    max_source_positions: int = AUDIO_POSITIONS
    activation_function: str = "gelu"
    scale_embedding: bool = False

    def check(self) -> None:
        """Raises UnsupportedError for a model that is not a Whisper as its authors made it."""
        for name, known in (
            ("model_type", "whisper"),
            ("activation_function", "gelu"),
            ("scale_embedding", False),
            ("max_source_positions", AUDIO_POSITIONS),
        ):
            if (value := getattr(self, name)) != known:
                raise UnsupportedError(f"config.json: {name} is '{value}', not '{known}'")
        for heads in (self.encoder_attention_heads, self.decoder_attention_heads):
            if heads < 1 or self.d_model % heads:
                raise UnsupportedError(f"config.json: {heads} heads do not divide {self.d_model}")
