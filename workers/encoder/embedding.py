"""The backend that makes vectors of texts, or scores pairs of them. All requests share runs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from cupola.scheduler.protocol.messages import ANY_TURN, ErrorCode, Rejected, Turn
from cupola.scheduler.protocol.outputs import Output, Usage
from cupola.scheduler.protocol.status import Serving
from cupola.scheduler.protocol.tasks import Decide, Decode, Embed, Encode, Transcribe, Work
from cupola.workers.encoder.encoder_session import EncoderSession
from cupola.workers.encoder.input_texts import InputText, InputTexts
from cupola.workers.encoder.pooling import Pooling, Vectors, normalized
from cupola.workers.model.backend import RequestError, refuse_speech
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.model.text import TextCodec
from cupola.workers.model.text_intake import TextIntake
from cupola.workers.model.text_jobs import SMALL_CHARACTERS, Cancelled

logger = logging.getLogger(__name__)

BUDGET = 2048  # tokens of a run, including the padding


@dataclass(slots=True)
class _Job:
    """One request: the texts that wait for a run, and how many vectors are missing."""

    request_id: str
    dimensions: int
    tokens: int  # of all texts
    waiting: deque[tuple[int, InputText]] = field(default_factory=deque)  # with their indices
    open: int = 0  # vectors that are missing
    is_new: bool = True  # there was no output yet


class EmbeddingBackend:
    """See ``backend.Backend`` for the contract."""

    serving = Serving("encoder")
    shared_bytes = 0
    capacity = 0

    postponed: frozenset[str] = frozenset()

    def __init__(
        self,
        folder: ModelFolder,
        codec: TextCodec,
        session: EncoderSession,
        pooling: Pooling,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """``wake`` is called from another thread when large texts have been read."""
        self._reader = InputTexts(codec, folder.context, pairs=pooling.scores_pairs)
        self._session = session
        self._pooling = pooling
        self._texts: TextIntake[_Job] = TextIntake(codec, wake)
        self._jobs: dict[str, _Job] = {}  # the request whose turn is next comes first

    @property
    def busy(self) -> bool:
        return bool(self._jobs) or self._texts.ready

    def close(self) -> None:
        """It keeps nothing."""

    def warm_up(self) -> bool:
        return False

    def rest(self, long: bool) -> None:
        """It keeps nothing."""

    def convert(self, request_id: str, task: Encode | Decode) -> Output | None:
        return self._texts.convert(request_id, task)

    def add(
        self, request_id: str, work: Work | Embed | Decide | Transcribe, turn: Turn = ANY_TURN
    ) -> None:
        work = refuse_speech(work)
        if not isinstance(work, Embed):
            use = "scores pairs of texts" if self._pooling.scores_pairs else "makes embeddings"
            path = "/v1/rerank" if self._pooling.scores_pairs else "/v1/embeddings"
            text = f"this model {use} and generates no text: use POST {path}"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
        if self._reader.size(work) <= SMALL_CHARACTERS:
            self._accept(request_id, self._read(request_id, work, lambda: False))
        else:
            self._texts.start(request_id, partial(self._read, request_id, work))

    def _read(self, request_id: str, work: Embed, cancelled: Cancelled) -> _Job:
        """The tokens of the texts. It may be called from any thread. Raises RequestError."""
        texts = self._reader.read(work, cancelled)
        return _Job(
            request_id,
            self._dimensions(work.dimensions),
            sum(len(text.tokens) for text in texts),
            deque(enumerate(texts)),
            len(texts),
        )

    def abort(self, request_id: str) -> None:
        """See ``Backend.abort``. No tokens are generated here."""
        self._texts.cancel(request_id)
        self._jobs.pop(request_id, None)

    def step(self) -> list[Output | Rejected]:
        outputs = list(self._texts.take(self._accept))
        batch = self._batch()
        vectors = self._vectors([text for _, _, text in batch]) if batch else []
        for (job, index, _), vector in zip(batch, vectors, strict=True):
            if job.request_id not in self._jobs:
                continue  # another of its texts has failed
            if vector is not None:
                outputs.append(self._output(job, index, vector))
            else:
                del self._jobs[job.request_id]
                text = f"the model failed on input {index}"
                outputs.append(Rejected(job.request_id, ErrorCode.INTERNAL, text))
        return outputs

    def _accept(self, request_id: str, job: _Job) -> None:
        """The texts of a request have been read."""
        self._jobs[request_id] = job

    def _vectors(self, texts: list[InputText]) -> list[Vectors | None]:
        """A vector for each text; None if the model fails on it or the vector is not numbers.

        Raises ModelFolderError when the model cannot be started again after a failure.
        """
        try:
            vectors = self._pooling(*self._session.run(texts))
        except Exception as error:  # of whatever kind the runtime raises
            logger.error("a run of %d texts failed: %s", len(texts), error)
            self._session.rebuild()
            if len(texts) == 1:
                return [None]
            return [vector for text in texts for vector in self._vectors([text])]
        return [vector if np.isfinite(vector).all() else None for vector in vectors]

    def _batch(self) -> list[tuple[_Job, int, InputText]]:
        """Texts for one run. The requests take turns."""
        batch: list[tuple[_Job, int, InputText]] = []
        longest = 0
        while ready := next((job for job in self._jobs.values() if job.waiting), None):
            index, text = ready.waiting[0]
            longest = max(longest, len(text.tokens))
            if batch and longest * (len(batch) + 1) > BUDGET:
                break
            ready.waiting.popleft()
            batch.append((ready, index, text))
            self._jobs[ready.request_id] = self._jobs.pop(ready.request_id)  # to the end
        return batch

    def _output(self, job: _Job, index: int, vector: Vectors) -> Output:
        if job.dimensions < len(vector):
            vector = normalized(vector[: job.dimensions])
        first = Usage(job.tokens, 0) if job.is_new else None
        job.is_new = False
        job.open -= 1
        usage = None
        if not job.open:
            usage = Usage(job.tokens, 0)
            del self._jobs[job.request_id]
        data = np.ascontiguousarray(vector, "<f4").tobytes()
        return Output(job.request_id, usage=usage, index=index, embedding=data, prompt_usage=first)

    def _dimensions(self, wanted: int | None) -> int:
        full = self._session.width
        if wanted is None or wanted == full:
            return full
        if not self._pooling.matryoshka:
            text = f"this model's vectors have {full} dimensions and cannot be shortened"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "dimensions")
        sizes = self._pooling.sizes
        if wanted > full or (sizes and wanted not in sizes):
            allowed = ", ".join(map(str, sizes)) or f"at most {full}"
            text = f"this model's vectors cannot have {wanted} dimensions: {allowed}"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "dimensions")
        return wanted
