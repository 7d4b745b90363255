"""Holds the sandbox to OpenAPI documents by schemathesis: status codes, content types, headers and response schemas.

`contract.openapi.json` describes what the product calls; the published documents are tested too where they lie beside
the clone, in `../shared/api`. Valid and invalid requests are derived from a fixed seed. This suite needs the extra
`dev`: run it with `pytest tests/contract`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from eachlabs_frames.sandbox import API_KEY, Sandbox, Step, Version, start

OWN = Path(__file__).with_name("contract.openapi.json")
PUBLISHED = Path(__file__).parents[3] / "shared" / "api"
PREFIXES = {OWN: "", PUBLISHED / "api-2026-08.openapi.json": "", PUBLISHED / "workflows-2026-08.openapi.json": "/v1"}
SERVED = re.compile(
    r"(get|post) (/v1)?/(workflows(/trigger/[^/]+/[^/]+)?|workflows/bulk-trigger/[^/]+/[^/]+|workflows/[^/]+"
    r"|workflows/[^/]+/executions|workflows/executions/[^/]+|billing/balance|upload/presign|models/[^/]+)"
    r"|delete /v1/files/\{id\}|(get|post) /api/v1/.+"
)
NOT_SERVED = "get /workflows"
WORKFLOW = "50741f40-8621-4d46-8a91-dff4d873be98"
FILE = "0dce0f44-b8a5-4f30-91d4-5f6b0c221bf0"
KEYS = {"Authorization": f"Bearer {API_KEY}", "X-API-Key": API_KEY}
EXAMPLES = 8

load_all_checks()
CONFORMANCE = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
    ]
)


class Subject(NamedTuple):
    """An operation of a document."""

    document: Path
    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.document.name.split('.')[0]} {self.method} {self.path}"


def subjects() -> Iterator[Subject]:
    """Yield the operations that the sandbox serves, of the documents that exist."""
    for document in filter(Path.is_file, PREFIXES):
        for path, methods in json.loads(document.read_text("utf-8"))["paths"].items():
            for method in methods:
                name = f"{method} {path}"
                if SERVED.fullmatch(name) and name != NOT_SERVED:
                    yield Subject(document, method, path)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox with executions of every kind: queued, running, completed, failed and cancelled."""
    with start(configure=False, queue_seconds=0.0, run_seconds=(0.0, 0.0)) as running:
        running.add_workflow(
            WORKFLOW,
            versions=[Version("v1", input_schema={"type": "object"}), Version("v2")],
            output=lambda inputs: {"object": {"a": 1}, "list": ["a"]}.get(str(inputs.get("kind")), "text"),
            steps=[Step("first"), Step("call", type="http"), Step("last", type="python")],
        )
        yield running


def populate(sandbox: Sandbox) -> list[str]:
    """Trigger executions of every status; return their IDs and an ID that does not exist."""
    for hold, queue_seconds in ((False, 0.0), (True, 0.0), (True, 3600.0)):
        sandbox.change(hold=hold, queue_seconds=queue_seconds)
        for inputs in ({"kind": "object"}, {"kind": "list"}, {"kind": "[fail]"}, {"kind": "text"}):
            trigger(sandbox, inputs)
    sandbox.set_status(sandbox.accepted[-1].execution_id, "cancelled")
    sandbox.expire(sandbox.accepted[0].execution_id)
    return [accepted.execution_id for accepted in sandbox.accepted] + ["nobody"]


def trigger(sandbox: Sandbox, inputs: dict[str, Any]) -> None:
    """Trigger an execution."""
    document = schemathesis.openapi.from_dict(json.loads(OWN.read_text("utf-8")))
    operation = document["/v1/workflows/bulk-trigger/{workflow}/{version}"]["post"]
    names = {"workflow": WORKFLOW, "version": "v1"}
    case = operation.Case(path_parameters=names, body={"inputs": [inputs]}, media_type="application/json")
    assert case.call(base_url=sandbox.url, headers=KEYS).status_code == 202


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("subject", tuple(subjects()), ids=str)
def test_every_response_matches_the_document(sandbox: Sandbox, subject: Subject, mode: GenerationMode) -> None:
    """Valid and invalid requests, with and without a key, get documented responses."""
    sandbox.reset()
    sandbox.add_model("painter", cost={"amount": 0.03})
    executions = populate(sandbox)
    document = json.loads(subject.document.read_text("utf-8"))
    # A workflow's ID is a UUID in one published document, and `wf_abc123` in the examples of the other.
    document["components"]["schemas"].get("WorkflowDetail", {"properties": {"workflow_id": {}}})["properties"][
        "workflow_id"
    ].pop("format", None)
    schema = schemathesis.openapi.from_dict(document)
    operation = schema[subject.path][subject.method]
    names = {
        "workflow": [WORKFLOW, "nobody"],
        "version": ["v1", "v2", "v9"],
        "execution": executions,
        "id": [FILE, "nobody"],
        "slug": ["painter", "nobody"],
    }
    parts = re.findall(r"\{(\w+)\}", subject.path)
    path_values = itertools.cycle(itertools.product(*(names[part.removesuffix("ID")] for part in parts)))

    @seed(2026)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        url = sandbox.url + PREFIXES[subject.document]
        case.validate_response(case.call(base_url=url, headers=KEYS), checks=CONFORMANCE)
        case.path_parameters = dict(zip(parts, next(path_values), strict=True))
        # With a valid path the request may be valid again, so that it need not be refused.
        for headers in (KEYS, {}):
            case.validate_response(case.call(base_url=url, headers=headers), checks=CONFORMANCE[:-1])

    check()


@pytest.mark.parametrize("path", ["/v1/workflows/bulk-trigger/{}/v1", "/api/v1/{}/bulk-trigger"])
def test_a_request_with_an_unknown_field_is_refused(sandbox: Sandbox, path: str) -> None:
    """400 whether in the body or the query, and nothing is accepted."""
    before = sandbox.accepted_count()
    for query, more in (("?wait=1", {}), ("", {"unknown": 1})):
        body = json.dumps({"inputs": [{}], **more}).encode()
        request = Request(
            sandbox.url + path.format(WORKFLOW) + query, body, KEYS | {"Content-Type": "application/json"}
        )
        with pytest.raises(HTTPError) as caught:
            urlopen(request)
        assert caught.value.code == 400
        caught.value.close()
    assert sandbox.accepted_count() == before
