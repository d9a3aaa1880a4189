"""Read by schemathesis (SCHEMATHESIS_HOOKS): the checks that it does not bring."""

from __future__ import annotations

import schemathesis

OF_HTTP = {
    "content-type",
    "content-length",
    "transfer-encoding",
    "date",
    "connection",
    "allow",
}  # which no schema lists


@schemathesis.check
def headers_are_documented(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Every header of an answer is in the schema, for that route and status."""
    definition = case.operation.responses.find_by_status_code(response.status_code)
    if definition is None:  # another check's matter
        return
    known = OF_HTTP | {name.lower() for name, _ in definition.headers.items()}
    unknown = {name.lower() for name in response.headers} - known
    assert not unknown, f"headers that the schema does not have for status {response.status_code}: {sorted(unknown)}"
