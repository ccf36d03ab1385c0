"""Check documents against the published description of the Engine API (OpenAPI 2)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

SPEC = Path(__file__).parents[2].parent / "shared/specs/docker-engine-api-v1.51.yaml"
needs_description = pytest.mark.skipif(
    not SPEC.exists(), reason="the API description is not beside this checkout"
)


def check(definition: str, document: Any) -> None:
    """Fail if document is not as the definition says."""
    errors = [
        f"{error.instance_path}: {error.message}" for error in _validator(definition).iter_errors(document)
    ]
    assert errors == []


@cache
def _validator(definition: str) -> Any:
    definitions = {name: _schema(node) for name, node in _description()["definitions"].items()}
    return jsonschema_rs.validator_for(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": definitions,
            "$ref": f"#/definitions/{definition}",
        }
    )


@cache
def _description() -> dict[str, Any]:
    return yaml.load(SPEC.read_text(), yaml.CSafeLoader)  # type: ignore[no-any-return]


def _schema(node: Any) -> Any:
    """Return OpenAPI 2 as JSON Schema: Go writes null for any empty pointer, list or map, marked or not."""
    if isinstance(node, list):
        return [_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"anyOf": [{"$ref": node["$ref"]}, {"type": "null"}]}
    schema = {
        key: _schema(value)
        for key, value in node.items()
        if key not in ("example", "format", "x-nullable", "description", "default")
    }
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    if "properties" in node and isinstance(node["properties"], dict):
        schema["properties"] = {name: _schema(value) for name, value in node["properties"].items()}
    return schema
