"""The words that `scenes` understands, and the check for words that it does not: no framework, no files."""

import re

OBJECTS: tuple[str, ...] = (
    "fox", "balloon", "cat", "dog", "car", "tree", "apple", "ball",
    "house", "rocket", "flower", "cactus", "frog", "penguin", "mushroom", "panda",
)  # fmt: skip
"""The objects, in the order of the classifier's outputs."""

BACKGROUNDS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "night": ((20, 24, 62), (46, 62, 92)),
    "beach": ((124, 202, 240), (242, 216, 158)),
    "meadow": ((168, 218, 250), (112, 186, 84)),
    "sunset": ((255, 152, 92), (118, 58, 92)),
    "snow": ((186, 208, 232), (247, 249, 252)),
    "desert": ((250, 218, 156), (212, 138, 78)),
    "sea": ((198, 230, 247), (34, 108, 170)),
    "lavender": ((228, 216, 247), (150, 120, 202)),
}
"""Background name -> (sky RGB, ground RGB), 0..255."""

TEMPLATES: tuple[str, ...] = (
    "{objects} on a {background} background",
    "a picture of {objects} on a {background} background",
    "{objects}, {background} background",
    "{background} background with {objects}",
)
"""Prompt forms; `scenes` is trained on these, the first one most often."""

MAX_OBJECTS = 3

_GLUE = ("a", "an", "and", "on", "of", "with", "picture", "background")

WORDS: tuple[str, ...] = tuple(sorted({*OBJECTS, *BACKGROUNDS, *_GLUE}))
"""Every word of the prompt language, lower case, sorted."""


def article(word: str) -> str:
    """Return `word` with its indefinite article: "a fox", "an apple"."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def enumerate_objects(objects: list[str]) -> str:
    """Return "a cat, a dog and a car" for ["cat", "dog", "car"]; raise ValueError for an empty list."""
    if not objects:
        raise ValueError("a scene needs at least one object")
    named = [article(word) for word in objects]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def unknown_words(prompt: str) -> list[str]:
    """Return the words of `prompt` that `scenes` was never trained on: lower case, in order, each once."""
    known = set(WORDS)
    return list(dict.fromkeys(word for word in re.findall(r"[^\W_]+", prompt.lower()) if word not in known))
