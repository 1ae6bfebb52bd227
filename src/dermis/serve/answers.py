"""What the API answers: shapes for OpenAPI. Probabilities and scores lie between 0 and 1."""

from pydantic import BaseModel, Field


class Fault(BaseModel):
    code: str
    message: str


class Error(BaseModel):
    """Every answer that is not what was asked for."""

    error: Fault


class Health(BaseModel):
    status: str
    version: str


class Limits(BaseModel):
    max_bytes: int
    max_pixels: int
    seconds: float


class Can(BaseModel):
    """What may be asked of this service."""

    embed: bool
    embed_text: bool
    classify_names: bool = Field(description="classify among the caller's names, zero-shot")
    decide: bool = Field(description="classify without names: the calibrated decision")
    labels: bool
    concepts: bool
    checklist: bool
    search: bool
    search_text: bool
    explain: list[str]
    generate: bool
    dialogue: bool = Field(description="the generator reads a dialogue too")


class Model(BaseModel):
    name: str
    version: str
    pictures: list[str] = Field(description="columns, each the name of a file part; a case has all of them")
    can: Can
    classes: list[str] | None = Field(description="the classes of the calibrated decision")
    promise: float | None = Field(description="share of new patients whose set holds the truth, on average")
    calibration_patients: int | None
    limits: Limits
    token: bool
    searched_cases: int
    thumbnails: bool
    card: str = Field(description="Markdown")
    notice: str


class Named(BaseModel):
    name: str
    probability: float


class Classification(BaseModel):
    source: str = Field(description="decision: calibrated; names: zero-shot among the caller's names, not calibrated")
    probabilities: list[Named] = Field(description="the likeliest first; they compare these names with each other only")
    possible: list[str] | None = None
    sure: bool | None = None
    why: str | None = Field(default=None, description="why not sure")
    ood: float | None = Field(default=None, description="share of held-out pictures at least as strange")
    promise: float | None = None


class Label(BaseModel):
    name: str
    probabilities: list[Named]


class Labels(BaseModel):
    labels: list[Label]


class Concept(BaseModel):
    name: str
    score: float


class Concepts(BaseModel):
    concepts: list[Concept]


class Criterion(BaseModel):
    name: str
    probability: float = Field(description="of its suspicious class")
    points: int = Field(description="of the criterion, where it counts")
    counted: bool = Field(description="is its suspicious class the likeliest?")


class SevenPoints(BaseModel):
    criteria: list[Criterion]
    score: int
    highest: int
    expected: float
    deviation: float
    suspicion: float = Field(description="that the score reaches the threshold; not the probability of melanoma")
    suspected: bool
    threshold: int


class Hit(BaseModel):
    rank: int
    case_id: str
    cosine: float
    columns: dict[str, str | float | None]
    thumbnails: dict[str, str] = Field(description="picture column -> path of a small picture")


class Hits(BaseModel):
    hits: list[Hit]


class Where(BaseModel):
    """Where a model looked, or where a picture resembles a text."""

    column: str
    kind: str
    about: str
    values: list[list[float]] = Field(description="a row of patches after the other")
    low: float
    high: float
    box: tuple[float, float, float, float] = Field(
        description="left, top, right, bottom of what the model saw, as fractions of the upright picture"
    )
    overlay: str | None = Field(description="PNG as a data URL")


class Maps(BaseModel):
    maps: list[Where]


class Text(BaseModel):
    text: str


class Embedding(BaseModel):
    embedding: list[float]
    dim: int
    space: str = Field(description="projected: the space that pictures and texts share; trunk: of pictures alone")
