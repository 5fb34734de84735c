"""Makes the test model in the quantizer's environment: a small random Llama, then W8A8 by llm-compressor, from nothing but
this machine. Usage: make_model.py PLAIN QUANTIZED [HIDDEN LAYERS VOCABULARY]
"""

import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", DO_NOT_TRACK="1")

import torch
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>", "<|system|>"]
CHAT_TEMPLATE = (
    "<|bos|>{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|eos|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTEXT = 4096
HIDDEN, LAYERS, VOCABULARY = (int(word) for word in (sys.argv[3:6] or ("256", "2", "4096")))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE, trained on the standard library's own sources."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, special_tokens=SPECIAL)
    tokenizer.train([str(path) for path in sorted(Path(os.__file__).parent.glob("*.py"))[:120]], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        pad_token="<|pad|>",
        model_max_length=CONTEXT,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Random weights: the test is about counting, not about what is said."""
    torch.manual_seed(0)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN * 4,
        num_hidden_layers=LAYERS,
        num_attention_heads=max(4, HIDDEN // 64),
        num_key_value_heads=max(2, HIDDEN // 128),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        **ids,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.generation_config = GenerationConfig(**ids)
    return model


def quantize(plain: str, quantized: str) -> None:
    """Eight-bit weights and activations, rounded to nearest: needs no calibration data."""
    tokenizer = AutoTokenizer.from_pretrained(plain)
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.bfloat16)
    oneshot(model=model, recipe=QuantizationModifier(targets="Linear", scheme="W8A8", ignore=["lm_head"]))
    model.save_pretrained(quantized, save_compressed=True)
    tokenizer.save_pretrained(quantized)


def main() -> None:
    """Both steps."""
    plain, quantized = sys.argv[1:3]
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(plain)
    make_model(tokenizer).save_pretrained(plain)
    quantize(plain, quantized)


main()
