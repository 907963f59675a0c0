"""A small random model file for llama.cpp, written from scratch.

The speed of an engine depends on the shape of a model and not on its values, so a seeded random llama of
a few megabytes is enough to test serving with, and needs no download. Two properties matter: greedy
decoding never ends early, and every generated token is whole text, so that one token is one event of the
stream. Both come from zero rows in the output matrix for the tokens that would break them.

Format: GGUF version 3, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; weights are Q8_0
(blocks of one fp16 scale and 32 int8).
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_llmperf.engines.words import WORDS

_CONTROL = ("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
_FIRST_WORD = len(_CONTROL) + 256
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_Q8_0, _F32 = 8, 0
_ALIGNMENT = 32
_Tensor = tuple[int, tuple[int, ...], bytes]


@dataclass(frozen=True)
class TinyModel:
    """The shape of the model; the default is 6.7 million parameters in a file of 7 MB."""

    hidden: int = 256
    intermediate: int = 1024
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 2048
    context: int = 8192
    seed: int = 0

    @property
    def name(self) -> str:
        """A name that changes with the shape and with this module's way of writing it."""
        shape = repr(sorted(asdict(self).items())) + "v1"
        return f"tiny-llama-{hashlib.sha256(shape.encode()).hexdigest()[:10]}"

    def write(self, directory: Path) -> Path:
        """Write the model into ``directory`` unless it is there already, and return the file.

        Atomic: a reader or a second writer never sees half a file.
        """
        path = directory / f"{self.name}.gguf"
        if path.exists():
            return path
        directory.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=directory, prefix=".tiny-", suffix=".gguf")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(_gguf(self))
            os.replace(scratch, path)
        except BaseException:
            os.unlink(scratch)
            raise
        return path


def _byte_characters() -> list[str]:
    """The printable stand-in of each byte in GPT-2's byte-level BPE."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = {byte: chr(byte) for byte in printable}
    for offset, byte in enumerate(byte for byte in range(256) if byte not in stand_ins):
        stand_ins[byte] = chr(256 + offset)
    return [stand_ins[byte] for byte in range(256)]


def _vocabulary(model: TinyModel, rng: random.Random) -> tuple[list[str], list[str]]:
    """The tokens and the merges that make them.

    Every merge extends a prefix that begins with a space, so only the front of a word can ever merge and
    each word of the list is exactly one token.
    """
    letters = _byte_characters()
    tokens = [*_CONTROL, *letters]
    merges: list[str] = []
    known = set(tokens)
    space = letters[ord(" ")]

    def words() -> Iterator[str]:
        yield from WORDS
        while True:
            yield "".join(
                rng.choice("bcdfghklmnprstvw") + rng.choice("aeiou") for _ in range(rng.randint(2, 4))
            )

    for word in words():
        for end in range(1, len(word) + 1):
            prefix = space + word[: end - 1]
            if prefix + word[end - 1] not in known:
                if len(tokens) == model.vocabulary:
                    return tokens, merges
                known.add(prefix + word[end - 1])
                tokens.append(prefix + word[end - 1])
                merges.append(f"{prefix} {word[end - 1]}")
    raise AssertionError("words() never ends")


def _gguf(model: TinyModel) -> Iterator[bytes]:
    rng = random.Random(model.seed)
    tokens, merges = _vocabulary(model, rng)
    tensors = _tensors(model, rng)
    metadata = {
        "general.architecture": "llama",
        "general.name": model.name,
        "general.alignment": _ALIGNMENT,
        "general.file_type": 7,
        "llama.context_length": model.context,
        "llama.embedding_length": model.hidden,
        "llama.block_count": model.layers,
        "llama.feed_forward_length": model.intermediate,
        "llama.attention.head_count": model.heads,
        "llama.attention.head_count_kv": model.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": model.hidden // model.heads,
        "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": model.vocabulary,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(_CONTROL) + [1] * (model.vocabulary - len(_CONTROL)),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": _CHAT_TEMPLATE,
    }
    header = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        header += _string(key) + _value(value)
    offset = 0
    for name, (kind, shape, raw) in tensors.items():
        header += _string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        header += struct.pack("<IQ", kind, offset)
        offset += len(raw) + _padding(len(raw))
    yield bytes(header) + b"\0" * _padding(len(header))
    for _, _, raw in tensors.values():
        yield raw + b"\0" * _padding(len(raw))


def _padding(length: int) -> int:
    return -length % _ALIGNMENT


def _tensors(model: TinyModel, rng: random.Random) -> dict[str, _Tensor]:
    hidden, inner = model.hidden, model.intermediate
    query = hidden
    key_value = hidden // model.heads * model.kv_heads
    # The bytes of printable ASCII and every word are whole text; control tokens and other bytes are not.
    whole = {len(_CONTROL) + byte for byte in range(32, 127)} | set(range(_FIRST_WORD, model.vocabulary))
    tensors = {
        "token_embd.weight": _q8_0(rng, hidden, model.vocabulary),
        "output_norm.weight": _ones(hidden),
        "output.weight": _q8_0(rng, hidden, model.vocabulary, whole),
    }
    for layer in range(model.layers):
        block = f"blk.{layer}."
        tensors |= {
            block + "attn_norm.weight": _ones(hidden),
            block + "attn_q.weight": _q8_0(rng, hidden, query),
            block + "attn_k.weight": _q8_0(rng, hidden, key_value),
            block + "attn_v.weight": _q8_0(rng, hidden, key_value),
            block + "attn_output.weight": _q8_0(rng, query, hidden),
            block + "ffn_norm.weight": _ones(hidden),
            block + "ffn_gate.weight": _q8_0(rng, hidden, inner),
            block + "ffn_up.weight": _q8_0(rng, hidden, inner),
            block + "ffn_down.weight": _q8_0(rng, inner, hidden),
        }
    return tensors


def _q8_0(rng: random.Random, columns: int, rows: int, kept: Collection[int] | None = None) -> _Tensor:
    """Random weights with a standard deviation of 0.05; rows that are not ``kept`` are zero."""
    scale = struct.pack("<e", 0.05 / 74)  # uniform int8 values have a standard deviation of 74
    raw = bytearray()
    for row in range(rows):
        row_scale = scale if kept is None or row in kept else b"\0\0"
        values = rng.randbytes(columns)
        for start in range(0, columns, 32):
            raw += row_scale + values[start : start + 32]
    return _Q8_0, (columns, rows), bytes(raw)


def _ones(length: int) -> _Tensor:
    return _F32, (length,), struct.pack("<f", 1.0) * length


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: object) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + _string(value)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_string(str(item)) for item in value)
        case [int(), *_]:
            return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
    raise TypeError(f"no GGUF type for {value!r}")
