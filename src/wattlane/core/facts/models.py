"""Facts about models: the geometry that decides FLOPs and bytes, from the catalogue or a Hugging Face `config.json`.

Counts follow from geometry alone; biases, norms and rotary tables are left out (below 0.1 % of the weights).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from wattlane.core.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Model:
    """Geometry of a decoder-only transformer.

    `attention` is "gqa" (MHA and MQA are special cases) or "mla". A dense model has `experts` 0. For MoE models
    `dense_layers` layers keep a dense MLP of `intermediate` width, the others `experts` experts of
    `expert_intermediate` width, of which `experts_per_token` are active, plus `shared_experts` always active.
    `window_tokens` with `window_layers` describe sliding-window layers (0 = none).

    Hybrids: `attention_layers` and `mlp_layers` say how many layers have each part (0 = every layer), `state_layers`
    how many keep a recurrent state (Mamba-2) of `state_heads`·`state_head_dim`·`state_size` numbers a sequence, with
    `state_groups` groups of input and output projections. `scale_block` is the block of weights one scale of an 8-bit
    checkpoint covers (0 = a channel or the tensor).
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied_embeddings: bool = False
    attention: str = "gqa"
    mlp_matrices: int = 3
    experts: int = 0
    experts_per_token: int = 0
    shared_experts: int = 0
    expert_intermediate: int = 0
    dense_layers: int = 0
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    rope_head_dim: int = 0
    v_head_dim: int = 0
    window_tokens: int = 0
    window_layers: int = 0
    attention_layers: int = 0
    mlp_layers: int = 0
    state_layers: int = 0
    state_heads: int = 0
    state_head_dim: int = 0
    state_groups: int = 0
    state_size: int = 0
    scale_block: int = 0
    max_context_tokens: int = 0
    native_precision: str = "bf16"
    source: str = ""
    date: str = ""

    @property
    def is_moe(self) -> bool:
        """Whether some layers route tokens to experts."""
        return self.experts > 0

    @property
    def attention_params_per_layer(self) -> float:
        """Weights of one layer's attention projections."""
        if self.attention == "mla":
            q_width = self.heads * (self.head_dim + self.rope_head_dim)
            q = (
                (self.hidden * self.q_lora_rank + self.q_lora_rank * q_width)
                if self.q_lora_rank
                else self.hidden * q_width
            )
            kv_down = self.hidden * (self.kv_lora_rank + self.rope_head_dim)
            kv_up = self.kv_lora_rank * self.heads * (self.head_dim + self.v_head_dim)
            return float(q + kv_down + kv_up + self.heads * self.v_head_dim * self.hidden)
        return float(self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads))

    @property
    def attending_layers(self) -> int:
        """Layers with attention, and so with a KV cache."""
        return self.attention_layers or self.layers

    @property
    def state_params_per_layer(self) -> float:
        """Weights of one recurrent layer: projections in (gate, values, groups, steps) and out."""
        inner = self.state_heads * self.state_head_dim
        into = 2 * inner + 2 * self.state_groups * self.state_size + self.state_heads
        return float(self.hidden * (into + inner))

    @property
    def state_elements(self) -> float:
        """Numbers of recurrent state one sequence keeps over all layers, whatever its length."""
        return float(self.state_layers * self.state_heads * self.state_head_dim * self.state_size)

    @property
    def moe_layers(self) -> int:
        """Layers that route."""
        return self.layers - self.dense_layers if self.is_moe else 0

    @property
    def expert_params(self) -> float:
        """Weights of one expert in one layer."""
        return float(self.mlp_matrices * self.hidden * self.expert_intermediate)

    @property
    def dense_params(self) -> float:
        """Weights every token passes through, language-model head included, embedding look-up excluded."""
        mlps = (self.mlp_layers or self.layers) - self.moe_layers
        dense_mlp = mlps * self.mlp_matrices * self.hidden * self.intermediate
        shared = self.moe_layers * (self.shared_experts * self.expert_params + self.hidden * self.experts)
        mixing = self.attending_layers * self.attention_params_per_layer
        mixing += self.state_layers * self.state_params_per_layer
        return float(mixing + dense_mlp + shared + self.vocab * self.hidden)

    @property
    def active_params(self) -> float:
        """Weights one token passes through."""
        return self.dense_params + self.moe_layers * self.experts_per_token * self.expert_params

    @property
    def total_params(self) -> float:
        """All weights, embedding table included once more where it is not tied to the head."""
        embedding = 0 if self.tied_embeddings else self.vocab * self.hidden
        return self.dense_params + self.moe_layers * self.experts * self.expert_params + embedding

    @property
    def kv_elements_per_token(self) -> float:
        """Numbers kept in the KV cache for one token over all layers."""
        if self.attention == "mla":
            return float(self.attending_layers * (self.kv_lora_rank + self.rope_head_dim))
        return float(self.attending_layers * 2 * self.kv_heads * self.head_dim)

    @property
    def attention_flop_per_token_context(self) -> float:
        """FLOPs one query token spends on one token of context, over all layers (scores and values)."""
        if self.attention == "mla":
            widths = self.head_dim + self.rope_head_dim + self.v_head_dim
            return float(self.attending_layers * 2 * self.heads * widths)
        return float(self.attending_layers * 4 * self.heads * self.head_dim)


def all_models() -> dict[str, Model]:
    """Return every model of the catalogue by its Hugging Face id."""
    return dict(_catalogue())


def model(name: str) -> Model:
    """Return the model of that Hugging Face id, or of its part behind the slash; case does not matter.

    Raises:
        UnknownNameError: no such model; the message names the nearest and says what else is accepted.
    """
    wanted = name.strip().lower()
    for known in _catalogue().values():
        full = known.name.lower()
        if wanted in {full, full.partition("/")[2]}:
            return known
    raise UnknownNameError("model", name, _catalogue(), "A path to a Hugging Face config.json is also accepted.")


@cache
def _catalogue() -> dict[str, Model]:
    text = (resources.files("wattlane.core.facts") / "models.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    return {name: Model(name=name, **_resolved(body, tables)) for name, body in tables.items()}


def _resolved(body: dict[str, Any], tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    own = {key: value for key, value in body.items() if key != "same_as"}
    return {**_resolved(tables[body["same_as"]], tables), **own} if "same_as" in body else own
