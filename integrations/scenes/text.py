"""The two small text encoders of `scenes` and their tokenizers, made from the prompt vocabulary.

`FluxPipeline` reads a pooled vector from a `CLIPTextModel` and a sequence from a `T5EncoderModel`. Both are a few
layers here and were trained together with the transformer. One word is one token in both; a word outside the
vocabulary becomes unknown tokens, which training never showed (see `vocabulary.unknown_words`).
"""

import json
import string

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from .vocabulary import WORDS

SEQUENCE_LENGTH = 24
"""Tokens of a prompt in both encoders; pass it to the pipeline as `max_sequence_length`."""

TEXT_WIDTH = 128

_START, _END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer() -> CLIPTokenizer:
    """Byte-pair tokenizer whose merges build every vocabulary word as one token; letters remain for other words."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), behavior="removed")
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=list(string.ascii_lowercase + string.digits + string.punctuation),
        end_of_word_suffix="</w>",
    )
    symbols = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    learner.train_from_iterator([*WORDS, *symbols], trainer)
    learned = learner.get_vocab()
    vocab = {_START: 0, _END: 1}
    for token in sorted(learned, key=lambda token: learned[token]):
        vocab.setdefault(token, len(vocab))
    merges = [tuple(merge) for merge in _merges(learner)]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=SEQUENCE_LENGTH)


def _merges(learner: Tokenizer) -> list[list[str]]:
    stored = json.loads(learner.to_str())["model"]["merges"]
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in stored]


def t5_tokenizer() -> T5Tokenizer:
    """Unigram tokenizer over whole words, lower case or capitalised."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0), (",", -1.0), (".", -1.0)]
    pieces += [(f"▁{word}", -2.0) for word in WORDS]
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
