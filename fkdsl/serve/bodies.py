"""The bodies of our own requests, as the OpenAPI page describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fkdsl.serve.orders import MOST_SEED, Order


class RunBody(BaseModel):
    """What a run is to be; each field may be left out."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[str, Any] = Field({}, description="of the program, by name")
    seed: int | None = Field(
        None, ge=0, le=MOST_SEED, description="the same seed gives the same answer (default 0)"
    )
    method: str | None = Field(None, description="smc, steer, exact, ...; default: the program's")
    options: dict[str, bool | int | float | str] = Field(
        {}, description="of the method, such as particles"
    )
    islands: int = Field(1, ge=1, description="independent populations")
    timeout: float | None = Field(None, gt=0, description="seconds, at most the server's")
    tokens: int | None = Field(None, gt=0, description="through the models, at most the server's")
    samples: int = Field(0, ge=0, description="draws from the posterior that the answer has too")
    lookahead: Literal["auto", "none", "proposal", "twist", "both"] = "auto"
    blame: bool = Field(False, description="whether the answer says what each line did")
    stream: bool = Field(False, description="server-sent events: step, ..., result or error")

    def order(self) -> Order:
        """What is asked for."""
        return Order(
            parameters=self.parameters,
            seed=self.seed or 0,
            method=self.method,
            options=self.options,
            islands=self.islands,
            seconds=self.timeout,
            tokens=self.tokens,
            samples=self.samples,
            lookahead=self.lookahead,
            blame=self.blame,
            steps=self.stream,
        )


class SourceBody(RunBody):
    """A program that comes in the request, and the files that it names."""

    source: str = Field(description="the program's text")
    files: dict[str, str] = Field(
        {}, description="imports, schemas, grammars and tables: texts by the names in the program"
    )
    program: str | None = Field(None, description="which of the source's programs")
