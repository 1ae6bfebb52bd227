"""Reading many texts with the dictionary (``knowledge.reader``), remembering those that were read."""

from collections.abc import Sequence
from pathlib import Path

from dermis.language.answer_cache import AnswerCache, key_of
from dermis.language.knowledge import Knowledge, reader
from dermis.language.lexicon import Lexicon
from dermis.language.ontology import Ontology
from dermis.language.vocabulary import fingerprint
from dermis.progress import Report


def extract(
    texts: Sequence[str],
    ontology: Ontology,
    lexicon: Lexicon,
    *,
    cache: Path,
    progress: Report = lambda done, total: None,
) -> list[Knowledge]:
    """``reader`` on every text, each distinct one once; what the folder ``cache`` holds is not read again."""
    read, vocabulary = reader(ontology, lexicon), fingerprint(ontology, lexicon)
    keys = [key_of("dictionary", vocabulary, text) for text in texts]
    with AnswerCache(cache) as known:
        for done, (key, text) in enumerate(zip(keys, texts, strict=True), 1):
            if key not in known:
                known.add(key, read(text), sync=False)  # cheap to read again, dear to sync
            progress(done, len(keys))
        return [known[key] for key in keys]


def kept(texts: Sequence[str], ontology: Ontology, lexicon: Lexicon, cache: Path) -> int:
    """How many distinct texts of ``texts`` the folder ``cache`` already answers."""
    known, vocabulary = AnswerCache(cache), fingerprint(ontology, lexicon)
    return sum(key_of("dictionary", vocabulary, text) in known for text in set(texts))
