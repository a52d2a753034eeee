"""The two small text encoders of `scenes` and their tokenizers, made from the prompt vocabulary.

`FluxPipeline` reads a pooled vector from a `CLIPTextModel` and a sequence from a `T5EncoderModel`. Both are a few
layers here and were trained together with the transformer. One word is one token in both; a word outside the
vocabulary becomes unknown tokens, which training never showed (see `vocabulary.unknown_words`).
"""

import string
from collections import Counter
from itertools import pairwise

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from .vocabulary import WORDS

SEQUENCE_LENGTH = 24
"""Tokens of a prompt in both encoders; pass it to the pipeline as `max_sequence_length`."""

TEXT_WIDTH = 128

_START, _END, _WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"


def clip_tokenizer() -> CLIPTokenizer:
    """Byte-pair tokenizer whose merges build every vocabulary word as one token; letters remain for other words."""
    symbols = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    merges = _merges(list(WORDS))
    tokens = [_START, _END, *symbols, *(symbol + _WORD_END for symbol in symbols), *("".join(pair) for pair in merges)]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=SEQUENCE_LENGTH)


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Learn byte-pair merges until every word is one symbol.

    Ties break by the alphabet: the `tokenizers` trainer breaks them by hash order, and token ids must never change.
    """
    spelled = [[*word[:-1], word[-1] + _WORD_END] for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(symbols) > 1 for symbols in spelled):
        pairs = Counter(pair for symbols in spelled for pair in pairwise(symbols))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_merged(symbols, best) for symbols in spelled]
    return merges


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for symbol in symbols:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def t5_tokenizer() -> T5Tokenizer:
    """Unigram tokenizer over whole words, lower case or capitalised."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0), (",", -1.0), (".", -1.0)]
    pieces += [(f"▁{form}", -2.0) for form in (*WORDS, *(word.capitalize() for word in WORDS))]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=SEQUENCE_LENGTH)


def clip_text_model(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A two-layer CLIP text encoder with fresh weights from the global generator (fork it to keep it untouched)."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=SEQUENCE_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def t5_text_model(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """A two-layer T5 encoder with fresh weights from the global generator (fork it to keep it untouched)."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=TEXT_WIDTH,
            d_kv=TEXT_WIDTH // 4,
            num_heads=4,
            d_ff=2 * TEXT_WIDTH,
            num_layers=2,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
    )


@torch.no_grad()
def share_capitals(encoder: T5EncoderModel) -> None:
    """Give each capitalised word the embedding of its lower-case form, which alone is trained.

    CLIP's tokenizer lowers the case by itself; T5's keeps no normalizer in its files.
    """
    vocab, rows = t5_tokenizer().get_vocab(), encoder.get_input_embeddings().weight
    for word in WORDS:
        rows[vocab[f"▁{word.capitalize()}"]] = rows[vocab[f"▁{word}"]]
