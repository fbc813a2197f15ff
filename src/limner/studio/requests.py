"""What a request may ask for, with its limits. The same over HTTP and from the page."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LARGEST = 999_999_999
Seed = Annotated[int, Field(ge=0, le=LARGEST)]
Index = Annotated[int, Field(ge=0, le=LARGEST)]
Truncation = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Attributes = Annotated[str, Field(max_length=1000, description="Attributes with commas between them.")]
ModelName = Annotated[str, Field(max_length=1000, description="One of the names in /api/models.")]


class Request(BaseModel):
    """A request; a field that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)


class FacesRequest(Request):
    """The faces `first` ... `first + count - 1` of `seed`, as `limner sample` makes them."""

    model: ModelName
    seed: Seed = 0
    first: Index = 0
    count: int = Field(16, ge=1, le=256)
    columns: int | None = Field(None, ge=1, le=256)
    truncation: Truncation = 1.0
    with_: Attributes = Field("", alias="with")
    without: Attributes = ""
    format: Literal["json", "png", "zip"] = "json"


class Variation(Request):
    """One of the faces around another."""

    amount: float = Field(0.3, ge=0, le=1, allow_inf_nan=False, description="0: the face itself; 1: any other.")
    seed: Seed = 0
    index: Index = 0


class LatentPoint(Request):
    """Latents and attributes, as `/api/project` answers them."""

    latents: list[Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]] = Field(min_length=1, max_length=4096)
    attributes: list[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]] = Field([], max_length=4096)


class Face(Request):
    """One face of a seed, with what was requested of it; or one near it; or, with `point`, any other."""

    seed: Seed = 0
    index: Index = 0
    truncation: Truncation = 1.0
    with_: Attributes = Field("", alias="with")
    without: Attributes = ""
    variation: Variation | None = None
    point: LatentPoint | None = None


class VariationsRequest(Request):
    """`count` faces around a face."""

    model: ModelName
    face: Face
    amount: float = Field(0.3, ge=0, le=1, allow_inf_nan=False)
    count: int = Field(8, ge=1, le=64)
    seed: Seed = 0


class FaceRequest(Request):
    """One face."""

    model: ModelName
    face: Face


class ModelRequest(Request):
    """A model."""

    model: ModelName


class EditRequest(Request):
    """A face, and how far to move it along directions of attributes."""

    model: ModelName
    face: Face
    by: dict[str, Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]] = Field(max_length=100)


class MorphRequest(Request):
    """A walk through two to eight faces."""

    model: ModelName
    faces: list[Face] = Field(min_length=2, max_length=8)
    frames: int = Field(32, ge=2, le=240)
    loop: bool = False
    fps: int = Field(20, ge=1, le=60)
    format: Literal["json", "png", "gif", "webp", "mp4", "webm"] = "json"


class TrainingRequest(Request):
    """A training to start."""

    recipe: str = Field(max_length=100)
    data: str | None = Field(None, max_length=1000, description="One of the folders in /api/runs.")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Folder of the run, below --runs.")
    minutes: float = Field(5, gt=0, le=10_000, allow_inf_nan=False)
    seed: Seed = 0
