"""A vocabulary from one's own texts: WordPiece for English, characters for Chinese, by the ``tokenizers`` library."""

import json
from collections import Counter
from collections.abc import Iterable
from functools import cached_property

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PAD, UNKNOWN, START, END, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""tokens 0 to 4 of every trained vocabulary"""


def train_tokenizer(texts: Iterable[str], vocabulary: int = 8000, characters: bool = False) -> str:
    """A tokenizer of at most ``vocabulary`` tokens, special ones included, as the JSON of the ``tokenizers`` library.

    WordPiece on lower-case words without accents, as BERT's; with ``characters`` each character is a token and white
    space is none (Chinese: a token a Han character; full-width letters and digits as plain ones). Texts begin with
    [CLS] and end with [SEP]. The same texts give the same JSON. Raises ValueError where there is no text, and for a
    vocabulary with room for special tokens only.
    """
    if vocabulary <= len(SPECIAL):
        raise ValueError(f"vocabulary must be more than the {len(SPECIAL)} special tokens; it is {vocabulary}.")
    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise ValueError("a tokenizer is trained from texts, and here are none.")
    tokenizer = _characters(texts, vocabulary) if characters else _word_pieces(texts, vocabulary)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(t, tokenizer.token_to_id(t)) for t in (START, END)]
    )
    return tokenizer.to_str()


def _characters(texts: list[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), behavior="isolated")]
    )
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _word_pieces(texts: list[str], vocabulary: int) -> Tokenizer:
    """The trainer numbers letters in the order of a hash table and breaks ties by number: so it is told the numbers."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    normal = map(tokenizer.normalizer.normalize_str, texts)
    words = [word for text in normal for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    count = Counter(letter for word in words for letter in word)
    # at most a quarter of the vocabulary, and as many again inside words: the rest is for pieces
    alphabet = sorted(count, key=lambda letter: (-count[letter], letter))[: max(1, vocabulary // 4)]
    inside = {letter for word in words for letter in word[1:]}
    numbered = [*SPECIAL, *alphabet, *(f"##{letter}" for letter in alphabet if letter in inside)]
    tokenizer.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(
            vocab_size=vocabulary,
            limit_alphabet=len(alphabet),
            initial_alphabet=alphabet,
            special_tokens=numbered,
            show_progress=False,
        ),
    )
    found = json.loads(tokenizer.to_str())
    found["added_tokens"] = [token for token in found["added_tokens"] if token["content"] in SPECIAL]
    return Tokenizer.from_str(json.dumps(found))


class TrainedTokenizer:
    """What ``train_tokenizer`` wrote: texts -> ids with [CLS] and [SEP], truncated so that [SEP] stays, not padded.

    ``json``: what it was made of, to be stored with the model; ``pad``, ``start``, ``end``, ``mask``: ids. Raises
    ValueError for JSON that is no tokenizer or lacks a special token.
    """

    def __init__(self, tokenizer_json: str, context_length: int) -> None:
        self.json, self.context_length = tokenizer_json, context_length
        missing = [token for token in SPECIAL if self._tokenizer.token_to_id(token) is None]
        if missing:
            raise ValueError(f"the tokenizer lacks the token {missing[0]}: make one with train_tokenizer.")
        self.pad, _, self.start, self.end, self.mask = map(self._tokenizer.token_to_id, SPECIAL)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            tokenizer = Tokenizer.from_str(self.json)
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"this is no tokenizer's JSON: {error}.") from None
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.context_length)
        return tokenizer

    def __call__(self, texts: list[str]) -> list[list[int]]:
        return [encoded.ids for encoded in self._tokenizer.encode_batch(texts)]

    def __len__(self) -> int:
        """Tokens of the vocabulary."""
        return self._tokenizer.get_vocab_size()

    def begins_word(self, tokens: list[int]) -> list[bool]:
        """Does each token begin a word, or go on with the one before? A character and a special token are words."""
        return [not (self._tokenizer.id_to_token(token) or "").startswith("##") for token in tokens]

    def text(self, tokens: list[int]) -> str:
        """What these ids say, without special tokens; lower case, and of characters without spaces."""
        return self._tokenizer.decode(tokens)
