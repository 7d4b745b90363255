"""A preview of 100,000 rows whose prices are found by their inputs, against one of the same rows without a price.

Both read the workflow, make and check every input, and show the frame; a sandbox in this process answers the requests,
of which there are five. A history of settled executions is part of neither.
"""

from __future__ import annotations

import pandas as pd

import eachlabs_frames as ef
from eachlabs_frames.sandbox import Step

from .measure import CPU, Result, in_turn, prompts

ROWS = 100_000
SCHEMA = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}, "style": {}}}


def previews() -> Result:
    frame = prompts(ROWS)
    with ef.sandbox.start() as sandbox:
        rows = [{"look": style, "amount": 0.01 * number} for number, style in enumerate(frame["style"].unique(), 1)]
        sandbox.add_model("painter", cost={"depends_on": ["look"], "rows": rows})
        for workflow, model in (("wf_known", "painter"), ("wf_unknown", "sandbox-model")):
            steps = (Step("draw", model=model, params={"look": "$.inputs.style"}),)
            sandbox.add_workflow(workflow, steps=steps, input_schema=SCHEMA)
        assert round(_cost(frame, "wf_known") or 0.0) == round(0.025 * ROWS)
        assert _cost(frame, "wf_unknown") is None
        pair = in_turn(lambda: _cost(frame, "wf_known"), lambda: _cost(frame, "wf_unknown"), CPU, rounds=5)
    note = f"{pair.first:.2f} s, without {pair.second:.2f} s"
    return Result("preview with known costs / without", pair.ratio, 1.3, note=note)


def _cost(frame: pd.DataFrame, workflow: str) -> float | None:
    cost: float | None = frame.eachlabs.preview(workflow).attrs["eachlabs_preview"]["cost_usd"]
    return cost
