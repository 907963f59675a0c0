"""What of a model decides how fast it can be at most: its matrices, its cache, and their formats."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Precision:
    """How many bytes an element has, and in which format is multiplied.

    ``weight_bytes``: of the matrices of the layers, or with ``is_of_experts`` of the experts' alone;
    ``rest_bytes``: of all else, and ``kv_bytes``: of the KV cache. ``is_of_head``: whether the head has the
    format of the matrices. ``weights``, ``rest`` and ``attention`` name formats as
    :class:`~pytest_llmperf.measure.accelerators.Accelerator` does.
    """

    weight_bytes: float = 2.0
    rest_bytes: float = 2.0
    kv_bytes: float = 2.0
    weights: str = "bfloat16"
    rest: str = "bfloat16"
    attention: str = "bfloat16"
    is_of_experts: bool = False
    is_of_head: bool = False


@dataclass(frozen=True)
class Experts:
    """Of a mixture: how many, how many of them a token goes through, and the width of each.

    ``shared`` is the width of what every token goes through beside them; ``dense_layers`` have none.
    """

    count: int
    active: int
    intermediate: int
    shared: int = 0
    dense_layers: int = 0


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): ranks, and the parts of a head's width.

    ``query_rank`` is None where queries are not compressed.
    """

    query_rank: int | None
    kv_rank: int
    nope: int
    rope: int
    value: int


@dataclass(frozen=True)
class ModelShape:
    """A decoder-only transformer with gated MLPs. Widths are numbers of elements.

    ``layer_vectors`` are parameters of a layer that are no matrix (norms, biases), ``expert_vectors`` those
    of one expert. ``windowed_layers`` look back over ``window`` tokens, the others over all.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    is_tied: bool = False
    layer_vectors: int = 0
    expert_vectors: int = 0
    experts: Experts | None = None
    latent: Latent | None = None
    window: int | None = None
    windowed_layers: int = 0
    precision: Precision = field(default_factory=Precision)

    # -- parameters ---------------------------------------------------------------------------------

    @property
    def parameters(self) -> int:
        """How many there are, exactly."""
        return self._counted(self.experts.count if self.experts else 0)

    @property
    def active_parameters(self) -> int:
        """How many a token goes through, embeddings included, as model cards count them."""
        return self._counted(self.experts.active if self.experts else 0)

    def _counted(self, experts: int) -> int:
        quantised, plain = self._matrices(experts)
        embeddings = self.vocab * self.hidden * (1 if self.is_tied else 2)
        return quantised + plain + self._vectors(experts) + embeddings

    @property
    def attention_matrices(self) -> int:
        """The elements of the matrices of one layer's attention."""
        if self.latent is None:
            return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        latent, wide = self.latent, self.heads * (self.latent.nope + self.latent.rope)
        rank = latent.query_rank
        queries = self.hidden * wide if rank is None else rank * (self.hidden + wide)
        compressed = self.hidden * (latent.kv_rank + latent.rope)
        expanded = latent.kv_rank * self.heads * (latent.nope + latent.value)
        return queries + compressed + expanded + self.heads * latent.value * self.hidden

    def _matrices(self, experts: int) -> tuple[int, int]:
        """The elements of the matrices of all layers with so many experts in each: those that have the format
        of the weights, and the others."""
        attention = self.layers * self.attention_matrices
        if self.experts is None:
            return attention + self.layers * 3 * self.hidden * self.intermediate, 0
        mixed = self.layers - self.experts.dense_layers
        of_experts = mixed * experts * 3 * self.hidden * self.experts.intermediate
        beside = mixed * 3 * self.hidden * self.experts.shared
        dense = self.experts.dense_layers * 3 * self.hidden * self.intermediate
        routers = mixed * self.hidden * self.experts.count
        if self.precision.is_of_experts:
            return of_experts, attention + beside + dense + routers
        return attention + of_experts + beside + dense, routers

    def _vectors(self, experts: int) -> int:
        mixed = self.layers - self.experts.dense_layers if self.experts else 0
        return self.layers * self.layer_vectors + mixed * experts * self.expert_vectors + self.hidden

    # -- bytes --------------------------------------------------------------------------------------

    @property
    def weight_bytes(self) -> float:
        """What one token reads of the weights: everything but the embeddings, of which it reads a row, and of
        the experts only those that it goes through."""
        precision, active = self.precision, self.experts.active if self.experts else 0
        quantised, plain = self._matrices(active)
        head = self.vocab * self.hidden
        head_bytes = precision.weight_bytes if precision.is_of_head else precision.rest_bytes
        return (
            quantised * precision.weight_bytes
            + (plain + self._vectors(active)) * precision.rest_bytes
            + head * head_bytes
        )

    def kv_bytes(self, context: float) -> float:
        """What one token reads of the KV cache behind ``context`` tokens."""
        if self.latent is None:
            elements = 2 * self.kv_heads * self.head_dim
        else:
            elements = self.latent.kv_rank + self.latent.rope
        return elements * self.precision.kv_bytes * self._looked_back(context)

    def _looked_back(self, context: float) -> float:
        """Tokens that one token looks back to, summed over the layers."""
        within = min(context, self.window) if self.window is not None else context
        return (self.layers - self.windowed_layers) * context + self.windowed_layers * within

    # -- operations ---------------------------------------------------------------------------------

    @property
    def matrix_flops(self) -> tuple[int, int]:
        """Of one token in the layers' matrices, a multiplication and an addition for each element: in the
        format of the weights, and in the other."""
        quantised, plain = self._matrices(self.experts.active if self.experts else 0)
        return 2 * quantised, 2 * plain

    @property
    def head_flops(self) -> int:
        """Of the one position whose logits are asked for."""
        return 2 * self.vocab * self.hidden

    def attention_flops(self, tokens: int) -> float:
        """Of a prompt, with the causal mask: queries times keys, and weights times values, for each pair."""
        width = 2 * self.head_dim if self.latent is None else self.latent.nope + self.latent.rope
        width += self.latent.value if self.latent is not None else 0
        full = tokens * (tokens + 1) / 2
        seen = min(tokens, self.window) if self.window is not None else tokens
        within = seen * (seen + 1) / 2 + (tokens - seen) * seen
        pairs = (self.layers - self.windowed_layers) * full + self.windowed_layers * within
        return 2.0 * self.heads * width * pairs

    def token_flops(self, context: float) -> float:
        """Of one token behind ``context`` others."""
        width = 2 * self.head_dim
        if self.latent is not None:  # multiplied into the latent, which is never expanded
            width = 2 * self.latent.kv_rank + self.latent.rope
        attention = 2.0 * self.heads * width * self._looked_back(context)
        return sum(self.matrix_flops) + self.head_flops + attention
